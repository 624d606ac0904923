package app_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/surgegate/surgegate/pkg/credstore"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// Callers and the store both hold on: there is one grace for both, not one after the other.
func TestDrainEndsWithinTheGrace(t *testing.T) {
	t.Parallel()
	l, store := newLedger(t, credstore.FormPlaintext, 1)
	asked := make(chan struct{}, 100)
	l.lag = func(bool) time.Duration {
		asked <- struct{}{}
		return time.Hour
	}
	g := newGateway(t, strings.TrimSuffix(store, "}")+", timeout: 5m}", "shutdown: {grace: 5s}")
	g.start()
	api := g.reset()
	if _, err := api.StartReset(t.Context(), &resetv1.StartResetRequest{Identifier: address(0), Client: &resetv1.Client{Ip: "192.0.2.1"}}); err != nil {
		t.Fatal(err)
	}
	<-asked
	// A call whose request never comes keeps its connection from ending gracefully.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	conn := g.dial(g.grpc)
	if _, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, resetv1.PasswordReset_StartReset_FullMethodName); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if code := g.terminate(); code != 0 {
		t.Errorf("exit code %d\n%s", code, g.output())
	}
	if took := time.Since(begin); took > 9*time.Second { // twice the grace is 10 s
		t.Errorf("draining took %v", took)
	}
}

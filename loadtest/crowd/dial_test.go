package crowd

import (
	"context"
	"testing"

	"github.com/surgegate/surgegate/loadtest/wire"
)

func dial(t *testing.T, address string) *wire.Client {
	t.Helper()
	client, err := wire.New(wire.Config{Targets: []string{address}}, wire.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- client.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return client
}

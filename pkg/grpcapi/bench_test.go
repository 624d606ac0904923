package grpcapi

import (
	"context"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/tracing/otlp"
	"github.com/surgegate/surgegate/pkg/tracing/otlp/otlptest"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// bare answers StartReset with nothing between grpc-go and the answer: the reference.
type bare struct {
	resetv1.UnimplementedPasswordResetServer
	answer *resetv1.StartResetResponse
}

func (b bare) StartReset(context.Context, *resetv1.StartResetRequest) (*resetv1.StartResetResponse, error) {
	return b.answer, nil
}

// BenchmarkStartReset compares the whole edge over a gate that accepts or refuses at once with a bare grpc-go server,
// client and server sharing the machine.
func BenchmarkStartReset(b *testing.B) {
	for _, callers := range []int{64, 256} {
		b.Run(fmt.Sprintf("reference/%d", callers), func(b *testing.B) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			s := grpc.NewServer()
			a := accepted()
			resetv1.RegisterPasswordResetServer(s, bare{answer: &resetv1.StartResetResponse{Ticket: protoTicket(a.Ticket), PollAfter: protoPoll(a)}})
			go func() { _ = s.Serve(ln) }()
			defer s.Stop()
			hammer(b, ln.Addr().String(), callers)
		})
		b.Run(fmt.Sprintf("accept/%d", callers), func(b *testing.B) {
			hammer(b, serve(b, &stubGate{}, Config{}, nil).Addrs().GRPC.String(), callers)
		})
		// With a collector, and a hundredth of the calls kept; accept is without, and has no handler for it at all.
		b.Run(fmt.Sprintf("traced/%d", callers), func(b *testing.B) {
			dropped, err := otlp.NewDropped(prometheus.NewRegistry())
			if err != nil {
				b.Fatal(err)
			}
			x, err := otlp.New(b.Context(), otlp.Config{Endpoint: otlptest.New(b, nil).Address(), Insecure: true}, otlp.Deps{Dropped: dropped})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = x.Close(context.Background()) }()
			hammer(b, serve(b, &stubGate{}, Config{}, func(d *Deps) { d.Trace = x.Handler }).Addrs().GRPC.String(), callers)
		})
		b.Run(fmt.Sprintf("refuse/%d", callers), func(b *testing.B) {
			g := &stubGate{start: func(context.Context, gate.StartRequest) (gate.Answer, error) {
				return gate.Answer{}, &reset.Error{Kind: reset.KindShed, Level: 2, RetryAfter: time.Minute}
			}}
			hammer(b, serve(b, g, Config{}, nil).Addrs().GRPC.String(), callers)
		})
	}
}

func hammer(b *testing.B, addr string, callers int) {
	b.Helper()
	const conns = 4
	var clients [conns]resetv1.PasswordResetClient
	for i := range clients {
		clients[i] = resetv1.NewPasswordResetClient(dial(b, addr, grpc.WithDisableRetry()))
	}
	b.ReportAllocs()
	b.ResetTimer()
	begin := cpuTime(b)
	done := make(chan struct{})
	per := b.N/callers + 1
	for c := range callers {
		go func() {
			r := &resetv1.StartResetRequest{Identifier: "alice@example.com", Client: person()}
			ctx, cancel := context.WithCancel(context.Background()) // no deadline: the server sets one, which costs
			defer cancel()
			for range per {
				_, _ = clients[c%conns].StartReset(ctx, r) // a refusal is what one of them measures
			}
			done <- struct{}{}
		}()
	}
	for range callers {
		<-done
	}
	b.StopTimer()
	// On a machine that others use too, the time spent says more than the time passed.
	b.ReportMetric(float64((cpuTime(b)-begin).Nanoseconds())/float64(per*callers), "cpu-ns/op")
	b.ReportMetric(float64(per*callers)/b.Elapsed().Seconds(), "calls/s")
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

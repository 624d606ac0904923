package edge_test

import (
	"context"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/surgegate/surgegate/pkg/edge"
	"github.com/surgegate/surgegate/pkg/edge/edgetest"
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
			a := edgetest.Accepted()
			answer := &resetv1.StartResetResponse{PollAfter: durationpb.New(a.PollAfter), Ticket: &resetv1.Ticket{
				Id: a.Ticket.ID, State: resetv1.State(a.Ticket.State), Position: a.Ticket.Position,
				AcceptTime: timestamppb.New(a.Ticket.AcceptTime), UpdateTime: timestamppb.New(a.Ticket.UpdateTime),
				Eta: &resetv1.Eta{Low: durationpb.New(a.Ticket.ETA.Low), High: durationpb.New(a.Ticket.ETA.High)},
			}}
			resetv1.RegisterPasswordResetServer(s, bare{answer: answer})
			go func() { _ = s.Serve(ln) }()
			defer s.Stop()
			hammer(b, ln.Addr().String(), callers)
		})
		b.Run(fmt.Sprintf("accept/%d", callers), func(b *testing.B) {
			hammer(b, edgetest.Serve(b, &edgetest.Gate{}, edge.Config{}, nil).Addrs().GRPC.String(), callers)
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
			hammer(b, edgetest.Serve(b, &edgetest.Gate{}, edge.Config{}, func(d *edge.Deps) { d.Trace = x.Handler }).Addrs().GRPC.String(), callers)
		})
		b.Run(fmt.Sprintf("refuse/%d", callers), func(b *testing.B) {
			g := &edgetest.Gate{Start: func(context.Context, gate.StartRequest) (gate.Answer, error) {
				return gate.Answer{}, &reset.Error{Kind: reset.KindShed, Level: 2, RetryAfter: time.Minute}
			}}
			hammer(b, edgetest.Serve(b, g, edge.Config{}, nil).Addrs().GRPC.String(), callers)
		})
	}
}

func hammer(b *testing.B, addr string, callers int) {
	b.Helper()
	const conns = 4
	var clients [conns]resetv1.PasswordResetClient
	for i := range clients {
		clients[i] = resetv1.NewPasswordResetClient(edgetest.Dial(b, addr, grpc.WithDisableRetry()))
	}
	b.ReportAllocs()
	b.ResetTimer()
	begin := cpuTime(b)
	done := make(chan struct{})
	per := b.N/callers + 1
	for c := range callers {
		go func() {
			r := &resetv1.StartResetRequest{Identifier: "alice@example.com", Client: edgetest.Person()}
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

package edge_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/surgegate/surgegate/pkg/edge"
	"github.com/surgegate/surgegate/pkg/edge/edgetest"
	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/reset"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// rawCodec sends bytes as they are.
type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("want bytes, not %T", v)
	}
	return b, nil
}
func (rawCodec) Unmarshal([]byte, any) error { return nil }
func (rawCodec) Name() string                { return "proto" }

var _ encoding.Codec = rawCodec{}

// TestBadMessagesAreRefused sends what no generated client would send. The answers are grpc-go's own. They must come before
// the gate, must not quote the message, and must not be logged.
func TestBadMessagesAreRefused(t *testing.T) {
	t.Parallel()
	field := func(n protowire.Number, b []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), b)
	}
	const canary = "canary-3f9a"
	tests := []struct {
		name    string
		message []byte
		want    codes.Code
	}{
		{"oversize", field(1, bytes.Repeat([]byte(canary), 1+(64<<10)/len(canary))), codes.ResourceExhausted},
		{"far oversize", field(1, bytes.Repeat([]byte(canary), 3<<20/len(canary))), codes.ResourceExhausted},
		{"invalid UTF-8", field(1, []byte(canary+"\xff\xfe")), codes.Internal},
		{"truncated field", []byte("\x0a\x20" + canary), codes.Internal},
		{"group without end", []byte("\x0b" + canary), codes.Internal},
	}
	var reached atomic.Int32
	f := edgetest.Serve(t, &edgetest.Gate{
		Start: func(context.Context, gate.StartRequest) (gate.Answer, error) {
			reached.Add(1)
			return edgetest.Accepted(), nil
		},
		Watch: func(context.Context, string, func(reset.Ticket) error) error { reached.Add(1); return nil },
	}, edge.Config{}, nil)
	conn := edgetest.Dial(t, f.Addrs().GRPC.String())
	for _, tt := range tests {
		for _, method := range []string{resetv1.PasswordReset_StartReset_FullMethodName, resetv1.PasswordReset_WatchTicket_FullMethodName} {
			var trailer metadata.MD
			err := conn.Invoke(edgetest.Context(t), method, tt.message, new([]byte), grpc.ForceCodec(rawCodec{}), grpc.Trailer(&trailer))
			if status.Code(err) != tt.want {
				t.Errorf("%s to %s: %v, want %s", tt.name, method, err, tt.want)
			}
			if len(trailer.Get("grpc-retry-pushback-ms")) != 0 || strings.Contains(fmt.Sprint(err, trailer), canary) {
				t.Errorf("%s to %s: %v, trailer %v", tt.name, method, err, trailer)
			}
		}
	}
	if reached.Load() != 0 {
		t.Error("a bad message reached the gate")
	}
	if log := f.Log.String(); strings.Contains(log, canary) || strings.Contains(log, "call failed") {
		t.Errorf("a bad message is in the log: %s", log)
	}
}

// TestZippedMessagesAreBounded: a little gzip that unpacks to a lot is refused at the limit, not unpacked whole.
func TestZippedMessagesAreBounded(t *testing.T) {
	t.Parallel()
	client := edgetest.Serve(t, &edgetest.Gate{}, edge.Config{}, nil).Client()
	_, err := client.GetTicket(edgetest.Context(t), &resetv1.GetTicketRequest{TicketId: strings.Repeat("t", 1<<20)}, grpc.UseCompressor(gzip.Name))
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("%v, want RESOURCE_EXHAUSTED", err)
	}
}

func TestOversizeHeaders(t *testing.T) {
	t.Parallel()
	client := edgetest.Serve(t, &edgetest.Gate{}, edge.Config{}, nil).Client()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err := client.GetTicket(metadata.AppendToOutgoingContext(ctx, "x-junk", strings.Repeat("j", 64<<10)), &resetv1.GetTicketRequest{TicketId: "t"})
	if err == nil {
		t.Error("64 KiB of headers were taken")
	}
	if _, err := client.GetTicket(ctx, &resetv1.GetTicketRequest{TicketId: "t"}); err != nil {
		t.Errorf("and nothing works any more: %v", err)
	}
}

// TestHalfOpenConnections: peers that say nothing, or half of a handshake, are gone after ConnectionTimeout.
func TestHalfOpenConnections(t *testing.T) {
	t.Parallel()
	f := edgetest.Serve(t, &edgetest.Gate{}, edge.Config{ConnectionTimeout: 200 * time.Millisecond}, nil)
	for _, first := range []string{"", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nHost: x\r\n", http2.ClientPreface} {
		conn, err := net.Dial("tcp", f.Addrs().GRPC.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := io.WriteString(conn, first); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("after %q the connection stays open", first)
		}
	}
}

func TestConnectionCap(t *testing.T) {
	t.Parallel()
	f := edgetest.Serve(t, &edgetest.Gate{}, edge.Config{MaxConnections: 2}, nil)
	ctx := edgetest.Context(t)
	var conns []*grpc.ClientConn
	for range 2 {
		conn := edgetest.Dial(t, f.Addrs().GRPC.String())
		if _, err := resetv1.NewPasswordResetClient(conn).GetTicket(ctx, &resetv1.GetTicketRequest{TicketId: "t"}); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	third := f.Client()
	if _, err := third.GetTicket(ctx, &resetv1.GetTicketRequest{TicketId: "t"}); status.Code(err) != codes.Unavailable {
		t.Errorf("a third connection: %v", err)
	}
	if n := f.Metric("surgegate_grpc_refused_connections_total", "listener", "grpc"); n < 1 {
		t.Errorf("%v refused", n)
	}
	if err := conns[0].Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := third.GetTicket(ctx, &resetv1.GetTicketRequest{TicketId: "t"}, grpc.WaitForReady(true)); err != nil {
		t.Errorf("a place that was given back: %v", err)
	}
}

// TestManyWatches: one connection watches as many tickets as it may, not one more, and other calls go on.
func TestManyWatches(t *testing.T) {
	t.Parallel()
	const limit = 300
	g := &edgetest.Gate{Watch: func(ctx context.Context, _ string, send func(reset.Ticket) error) error {
		if err := send(edgetest.Accepted().Ticket); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}}
	f := edgetest.Serve(t, g, edge.Config{MaxWatches: limit}, nil)
	client := f.Client()
	ctx, cancel := context.WithCancel(edgetest.Context(t))
	defer cancel()
	var wg sync.WaitGroup
	var open, refused atomic.Int32
	for range 1000 {
		wg.Go(func() {
			st, err := client.WatchTicket(ctx, &resetv1.WatchTicketRequest{TicketId: "t"})
			if err == nil {
				_, err = st.Recv()
			}
			switch status.Code(err) {
			case codes.OK:
				open.Add(1)
			case codes.ResourceExhausted:
				refused.Add(1)
			default:
				t.Errorf("watch: %v", err)
			}
		})
	}
	wg.Wait()
	if open.Load() != limit || refused.Load() != 1000-limit {
		t.Errorf("%d open, %d refused, want %d and %d", open.Load(), refused.Load(), limit, 1000-limit)
	}
	if _, err := client.GetTicket(ctx, &resetv1.GetTicketRequest{TicketId: "t"}); err != nil {
		t.Errorf("beside the watches: %v", err)
	}
	other := f.Client()
	st, err := other.WatchTicket(ctx, &resetv1.WatchTicketRequest{TicketId: "t"})
	if err == nil {
		_, err = st.Recv()
	}
	if err != nil {
		t.Errorf("another connection: %v", err)
	}
}

// TestSlowReader: a peer that never reads its watch blocks its own stream; the connection's other calls and the drain
// do not wait for it.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	blocked := make(chan struct{})
	g := &edgetest.Gate{Watch: func(ctx context.Context, _ string, send func(reset.Ticket) error) error {
		for i := 0; ctx.Err() == nil; i++ {
			if i == 500 { // about 25 KiB: well on the way to the window of 64 KiB, where Send blocks
				close(blocked)
			}
			if err := send(edgetest.Accepted().Ticket); err != nil {
				return err
			}
		}
		return ctx.Err()
	}}
	f := edgetest.Serve(t, g, edge.Config{}, nil)
	client := f.Client()
	if _, err := client.WatchTicket(edgetest.Context(t), &resetv1.WatchTicketRequest{TicketId: "t"}); err != nil {
		t.Fatal(err)
	}
	<-blocked
	for range 100 {
		if _, err := client.GetTicket(edgetest.Context(t), &resetv1.GetTicketRequest{TicketId: "t"}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	begin := time.Now()
	f.Drain(ctx)
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("the drain took %s", took)
	}
}

// TestRapidReset: streams opened and cancelled at once; handlers stay within the limit of streams.
func TestRapidReset(t *testing.T) {
	t.Parallel()
	const limit = 50
	var now, most atomic.Int32
	g := &edgetest.Gate{Get: func(ctx context.Context, _ string) (gate.Answer, error) {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-ctx.Done()
		now.Add(-1)
		return gate.Answer{}, ctx.Err()
	}}
	f := edgetest.Serve(t, g, edge.Config{MaxConcurrentStreams: limit}, nil)
	client := f.Client()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 100 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
				_, _ = client.GetTicket(ctx, &resetv1.GetTicketRequest{TicketId: "t"}) // the outcome is not the point
				cancel()
			}
		})
	}
	wg.Wait()
	if most.Load() > limit {
		t.Errorf("%d handlers at once, limit %d", most.Load(), limit)
	}
}

// TestPingFlood: a peer that pings without pause is sent away.
func TestPingFlood(t *testing.T) {
	t.Parallel()
	f := edgetest.Serve(t, &edgetest.Gate{}, edge.Config{}, nil)
	conn, err := net.Dial("tcp", f.Addrs().GRPC.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	fr := http2.NewFramer(conn, conn)
	if err := fr.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if fr.WritePing(false, [8]byte{}) != nil {
			break // gone already
		}
	}
	for {
		frame, err := fr.ReadFrame()
		if err != nil {
			t.Fatalf("no GOAWAY before the end: %v", err)
		}
		if g, ok := frame.(*http2.GoAwayFrame); ok {
			if g.ErrCode != http2.ErrCodeEnhanceYourCalm {
				t.Errorf("GOAWAY says %s", g.ErrCode)
			}
			return
		}
	}
}

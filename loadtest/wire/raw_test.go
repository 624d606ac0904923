package wire_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/surgegate/surgegate/loadtest/wire"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// scripted is the server's end of a connection, frame by frame, for what no well-behaved server sends.
type scripted struct {
	*http2.Framer
	t       *testing.T
	conn    net.Conn
	encoder *hpack.Encoder
	block   bytes.Buffer
}

// raw runs a server that does what script says with each connection, after SETTINGS; n counts them.
func raw(t *testing.T, settings []http2.Setting, script func(p *scripted, n int)) (address string) {
	t.Helper()
	l := listen(t, "127.0.0.1:0")
	var group sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	group.Go(func() {
		for n := 0; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			group.Go(func() {
				defer func() { _ = conn.Close() }()
				if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
					return
				}
				p := &scripted{Framer: http2.NewFramer(conn, conn), t: t, conn: conn}
				p.encoder = hpack.NewEncoder(&p.block)
				if p.WriteSettings(settings...) == nil {
					script(p, n)
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		group.Wait()
	})
	return l.Addr().String()
}

// request returns the stream of the next call that has come whole, and pings on the way to it; 0 when the connection ends.
func (p *scripted) request() (stream uint32, pings int) {
	for {
		f, err := p.ReadFrame()
		if err != nil {
			return 0, pings
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = p.WriteSettingsAck() // the next read tells
			}
		case *http2.PingFrame:
			pings++
			_ = p.WritePing(true, f.Data) // as above
		case *http2.DataFrame:
			if f.StreamEnded() {
				return f.StreamID, pings
			}
		}
	}
}

func (p *scripted) headers(stream uint32, end bool, fields ...string) {
	p.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = p.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}) // into memory
	}
	// An error shows in the test.
	_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: p.block.Bytes(), EndStream: end, EndHeaders: true})
}

func (p *scripted) begin(stream uint32) {
	p.headers(stream, false, ":status", "200", "content-type", "application/grpc")
}

func frame(id string) []byte {
	message, err := proto.Marshal(&resetv1.StartResetResponse{Ticket: &resetv1.Ticket{Id: id}})
	if err != nil {
		panic(err) // no such message
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

func (p *scripted) ok(stream uint32, id string) {
	p.begin(stream)
	_ = p.WriteData(stream, false, frame(id)) // the test sees
	p.headers(stream, true, "grpc-status", "0")
}

func TestResponsesThatAreWrong(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		do   func(p *scripted, stream uint32)
		want codes.Code
	}{
		"not gRPC": {func(p *scripted, s uint32) { p.headers(s, true, ":status", "200", "content-type", "text/html") }, codes.Unknown},
		"HTTP 503": {func(p *scripted, s uint32) { p.headers(s, true, ":status", "503", "content-type", "text/html") }, codes.Unavailable},
		"HTTP 404 with a body": {func(p *scripted, s uint32) {
			p.headers(s, false, ":status", "404")
			_ = p.WriteData(s, true, []byte("no"))
		}, codes.Unimplemented},
		"HTTP 403 but gRPC": {func(p *scripted, s uint32) {
			p.headers(s, true, ":status", "403", "content-type", "application/grpc", "grpc-status", "9")
		}, codes.FailedPrecondition},
		"no status":         {func(p *scripted, s uint32) { p.begin(s); p.headers(s, true, "some", "trailer") }, codes.Internal},
		"status no number":  {func(p *scripted, s uint32) { p.begin(s); p.headers(s, true, "grpc-status", "fine") }, codes.Unknown},
		"OK without answer": {func(p *scripted, s uint32) { p.begin(s); p.headers(s, true, "grpc-status", "0") }, codes.Internal},
		"no trailers":       {func(p *scripted, s uint32) { p.begin(s); _ = p.WriteData(s, true, frame("x")) }, codes.Internal},
		"data first":        {func(p *scripted, s uint32) { _ = p.WriteData(s, false, frame("x")) }, codes.Internal},
		"two answers": {func(p *scripted, s uint32) {
			p.begin(s)
			_ = p.WriteData(s, false, append(frame("x"), frame("y")...))
		}, codes.Internal},
		"compressed": {func(p *scripted, s uint32) {
			p.begin(s)
			_ = p.WriteData(s, false, append([]byte{1}, frame("x")[1:]...))
		}, codes.Internal},
		"half an answer": {func(p *scripted, s uint32) {
			p.begin(s)
			_ = p.WriteData(s, false, frame("xxxx")[:7])
			p.headers(s, true, "grpc-status", "0")
		}, codes.Internal},
		"endless headers": {func(p *scripted, s uint32) {
			p.headers(s, true, ":status", "200", "a", strings.Repeat("b", 9000), "c", strings.Repeat("d", 9000))
		}, codes.Internal},
		"reset: cancel":   {func(p *scripted, s uint32) { _ = p.WriteRSTStream(s, http2.ErrCodeCancel) }, codes.Canceled},
		"reset: calm":     {func(p *scripted, s uint32) { _ = p.WriteRSTStream(s, http2.ErrCodeEnhanceYourCalm) }, codes.ResourceExhausted},
		"reset: internal": {func(p *scripted, s uint32) { _ = p.WriteRSTStream(s, http2.ErrCodeInternal) }, codes.Internal},
		"window of 0":     {func(p *scripted, s uint32) { _ = p.WriteRawFrame(http2.FrameWindowUpdate, 0, s, make([]byte, 4)) }, codes.Internal},
		"garbage":         {func(p *scripted, _ uint32) { _, _ = p.conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n what?")) }, codes.Unavailable},
		"bad compression": {func(p *scripted, s uint32) {
			_ = p.WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, s, []byte{0xff, 0xff, 0xff})
		}, codes.Unavailable},
		"the end":            {func(p *scripted, _ uint32) { _ = p.conn.Close() }, codes.Unavailable},
		"1xx before the one": {func(p *scripted, s uint32) { p.headers(s, false, ":status", "103"); p.ok(s, "x") }, codes.OK},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := raw(t, nil, func(p *scripted, _ int) {
				for stream, _ := p.request(); stream != 0; stream, _ = p.request() {
					if stream == 1 {
						c.do(p, stream)
					} else {
						p.ok(stream, "next")
					}
				}
			})
			client, _ := dial(t, wire.Config{Targets: []string{address}, Connections: 1, BackoffBase: time.Millisecond})
			ready(t, client)
			if a := call(t, client, "x"); a.code != c.want {
				t.Fatalf("%v: %s, want %v", a.code, a.text, c.want)
			}
			if c.want == codes.Unavailable {
				return
			}
			if a := call(t, client, "y"); a.code != codes.OK || a.id != "next" {
				t.Errorf("the next call: %+v", a)
			}
		})
	}
}

func TestRefusedStreamsAreTriedAgainOnce(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]func(p *scripted, stream uint32){
		"RST_STREAM": func(p *scripted, s uint32) { _ = p.WriteRSTStream(s, http2.ErrCodeRefusedStream) },
		"GOAWAY":     func(p *scripted, s uint32) { _ = p.WriteGoAway(max(s, 2)-2, http2.ErrCodeNo, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for refusals, want := range map[int]codes.Code{1: codes.OK, 2: codes.Unavailable} {
				var mu sync.Mutex
				left := refusals
				address := raw(t, nil, func(p *scripted, n int) {
					held := uint32(0) // until the one behind it is refused
					for s, _ := p.request(); s != 0; s, _ = p.request() {
						if n == 0 && s == 1 {
							held = s
							continue
						}
						mu.Lock()
						refused := left > 0
						left--
						mu.Unlock()
						if !refused {
							p.ok(s, "second")
							continue
						}
						refuse(p, s)
						if held != 0 {
							p.ok(held, "first") // also after GOAWAY
							held = 0
						}
					}
				})
				client, _ := dial(t, wire.Config{Targets: []string{address}, Connections: 1, BackoffBase: time.Millisecond})
				ready(t, client)
				first, second := start(t, client, "a", patience), start(t, client, "b", patience)
				if a := wait(t, first); a.id != "first" {
					t.Errorf("%d refusals: the first call: %+v", refusals, a)
				}
				if a := wait(t, second); a.code != want {
					t.Errorf("%d refusals: %+v, want %v", refusals, a, want)
				}
			}
		})
	}
}

func TestHalfOpenConnectionIsGivenUp(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	defer close(hold)
	address := raw(t, nil, func(p *scripted, n int) {
		if n == 0 {
			<-hold // reads nothing, says nothing, does not close
			return
		}
		for s, _ := p.request(); s != 0; s, _ = p.request() {
			p.ok(s, "new")
		}
	})
	client, _ := dial(t, wire.Config{
		Targets: []string{address}, Connections: 1, BackoffBase: time.Millisecond,
		Silence: 40 * time.Millisecond, PingTimeout: 60 * time.Millisecond,
	})
	if a := call(t, client, "lost"); a.code != codes.Unavailable || !a.local || a.took < 100*time.Millisecond {
		t.Errorf("%+v", a)
	}
	if a := call(t, client, "x"); a.id != "new" {
		t.Errorf("on the next connection: %+v", a)
	}
}

func TestServerThatNeverAnswersIsPingedNoMoreThanAllowed(t *testing.T) {
	t.Parallel()
	pings := make(chan int, 4)
	address := raw(t, nil, func(p *scripted, _ int) {
		p.request()
		_, n := p.request() // until the client goes
		pings <- n
	})
	client, stop := dial(t, wire.Config{
		Targets: []string{address}, Connections: 1, Silence: 20 * time.Millisecond, PingTimeout: patience, PingInterval: 150 * time.Millisecond,
	})
	if a := wait(t, start(t, client, "x", 500*time.Millisecond)); a.code != codes.DeadlineExceeded {
		t.Errorf("%+v", a)
	}
	stop()
	if n := <-pings; n < 2 || n > 4 {
		t.Errorf("%d pings in half a second, one in 150 ms allowed", n)
	}
}

func TestSmallWindowsFramesAndTables(t *testing.T) {
	t.Parallel()
	const size = 3000
	address := raw(t, []http2.Setting{
		{ID: http2.SettingInitialWindowSize, Val: 1000}, {ID: http2.SettingHeaderTableSize, Val: 0},
		{ID: http2.SettingMaxConcurrentStreams, Val: 1},
	}, func(p *scripted, _ int) {
		received, got := 0, uint32(0)
		decoder := hpack.NewDecoder(0, nil)
		for {
			f, err := p.ReadFrame()
			if err != nil {
				return
			}
			switch f := f.(type) {
			case *http2.SettingsFrame:
				if !f.IsAck() {
					_ = p.WriteSettingsAck() // the next read tells
				}
			case *http2.HeadersFrame:
				if _, err := decoder.DecodeFull(f.HeaderBlockFragment()); err != nil {
					p.t.Errorf("headers with a table of 0: %v", err)
				}
				if got != 0 {
					p.t.Error("a second stream")
				}
				received, got = 0, f.StreamID
			case *http2.DataFrame:
				if received += int(f.Length); f.Length > 1000 {
					p.t.Errorf("%d bytes into a window of 1000", f.Length)
				}
				_ = p.WriteWindowUpdate(0, f.Length) // the next read tells
				if !f.StreamEnded() {
					_ = p.WriteWindowUpdate(f.StreamID, f.Length)
					continue
				}
				if received < size {
					p.t.Errorf("a message of %d bytes, of %d", received, size)
				}
				got = 0
				p.ok(f.StreamID, "x")
			}
		}
	})
	client, _ := dial(t, wire.Config{Targets: []string{address}, Connections: 1})
	var all []<-chan answer
	for range 20 {
		all = append(all, start(t, client, strings.Repeat("y", size), patience))
	}
	for _, got := range all {
		if a := wait(t, got); a.id != "x" {
			t.Fatalf("%+v", a)
		}
	}
}

package wire

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"pgregory.net/rapid"
)

// FuzzHeaders: whatever headers a server sends, a reply comes of it that can be asked everything.
func FuzzHeaders(f *testing.F) {
	f.Add("200", "application/grpc", "0", "", "", "")
	f.Add("200", "application/grpc+proto", "8", "sp%C3%A4ter %", "CAgSAmhp", "1500")
	f.Add("503", "text/html", "", "%zz%f", "!", "-1")
	f.Fuzz(func(t *testing.T, httpStatus, contentType, status, text, details, pushback string) {
		var h head
		decoder := hpack.NewDecoder(4096, h.field)
		var block bytesWriter
		encoder := hpack.NewEncoder(&block)
		for name, value := range map[string]string{
			":status": httpStatus, "content-type": contentType, "grpc-status": status, "grpc-message": text,
			"grpc-status-details-bin": details, "grpc-retry-pushback-ms": pushback,
		} {
			if err := encoder.WriteField(hpack.HeaderField{Name: name, Value: value}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := decoder.Write(block.b); err != nil {
			t.Fatal(err)
		}
		if code, why := h.refusal(); (code == codes.OK) != (why == "") {
			t.Errorf("refusal: %v %q", code, why)
		}
		var r Reply
		h.into(&r)
		_, _ = r.RetryDelay()
		_ = r.Reason()
		if utf8.ValidString(text) && !utf8.ValidString(r.Text) {
			t.Errorf("%q became %q", text, r.Text)
		}
	})
}

type bytesWriter struct{ b []byte }

func (w *bytesWriter) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	return len(p), nil
}

// FuzzServer: whatever bytes a server sends, each call is done once, and nothing hangs.
func FuzzServer(f *testing.F) {
	settings := "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	f.Add([]byte(settings + "\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x07"))                           // REFUSED_STREAM
	f.Add([]byte(settings + "\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))           // GOAWAY
	f.Add([]byte(settings + "\x00\x00\x01\x01\x05\x00\x00\x00\x01\x88"))                                       // :status 200
	f.Add([]byte(settings + "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00"))                   // window of 0
	f.Add([]byte(settings + "\x00\x00\x01\x01\x04\x00\x00\x00\x01\x88\x00\x00\x02\x00\x01\x00\x00\x00\x01hi")) // headers, data
	f.Fuzz(func(t *testing.T, answer []byte) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = io.ReadFull(conn, make([]byte, len(http2.ClientPreface)))
				_, _ = conn.Write(answer)
				_ = conn.Close()
			}
		})
		client, err := New(Config{Targets: []string{l.Addr().String()}, Connections: 1, BackoffBase: time.Hour, BackoffMax: time.Hour}, Deps{})
		if err != nil {
			t.Fatal(err)
		}
		group.Go(func() { err = errors.Join(err, client.Run(ctx)) })
		done := make(chan struct{}, 10)
		for range 3 {
			client.Call(&Method{path: "/a/b"}, []byte("hello"), 50*time.Millisecond, DoneFunc(func(r *Reply) {
				_ = r.Reason()
				done <- struct{}{}
			}))
		}
		for range 3 {
			select {
			case <-done:
			case <-time.After(10 * time.Second):
				t.Error("a call hangs")
			}
		}
		cancel()
		_ = l.Close()
		group.Wait()
		if err != nil || len(done) != 0 {
			t.Errorf("%v; %d calls were done twice", err, len(done))
		}
	})
}

func TestWheelExpiresEachOnceAndNeverEarly(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var w wheel
		now := time.Duration(0)
		left := map[*call]bool{}
		for range 200 {
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				k := &call{deadline: now + time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(t, "deadline"))}
				w.add(k)
				left[k] = true
			case 1:
				for k := range left {
					w.remove(k)
					delete(left, k)
					break
				}
			case 2:
				now += time.Duration(rapid.Int64Range(0, int64(6*time.Second)).Draw(t, "pass"))
				for _, k := range w.expire(now, nil) {
					if !left[k] || k.deadline > now {
						t.Fatalf("at %v: deadline %v, in the wheel: %v", now, k.deadline, left[k])
					}
					delete(left, k)
				}
				for k := range left {
					if k.deadline < now-2*tickTime {
						t.Fatalf("at %v a deadline of %v has not expired", now, k.deadline)
					}
				}
			}
		}
	})
}

func TestTimeoutIsRoundedUpToEightDigits(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "1u", 1: "1u", time.Microsecond: "1u", 3 * time.Second: "3000000u", 100 * time.Second: "100000m",
		100*time.Second + 1: "100001m", 30 * time.Hour: "108000S", 40000 * time.Hour: "2400000M", 2_000_000 * time.Hour: "2000000H",
	} {
		if got := string(appendTimeout(nil, d)); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

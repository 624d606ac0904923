package top

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/surgegate/surgegate/cmd/surgectl/internal/operatortest"
	"github.com/surgegate/surgegate/internal/screen"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/diagnosis/scene"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lines is an output that tells of every line.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
	all chan string // as many as a test reads, and then some
}

func newLines() *lines { return &lines{all: make(chan string, 256)} }

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf.Write(b)
	for {
		line, err := l.buf.ReadString('\n')
		if err != nil {
			l.buf.WriteString(line)
			return len(b), nil
		}
		l.all <- line
	}
}

// until returns the first line with the text in it.
func (l *lines) until(t *testing.T, text string) string {
	t.Helper()
	deadline, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		select {
		case line := <-l.all:
			if strings.Contains(line, text) {
				return line
			}
		case <-deadline.Done():
			t.Fatalf("no line with %q came", text)
		}
	}
}

func client(t *testing.T, address string) operatorv1.OperatorClient {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return operatorv1.NewOperatorClient(conn)
}

func same(err error) error { return err }

// run starts a view and returns what ends it and waits for it.
func run(t *testing.T, cfg Config, deps Deps) (stop func() error) {
	t.Helper()
	v, err := New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }() // stop waits for it
	return func() error {
		cancel()
		return <-done
	}
}

func TestAPipeGetsALineAStatusAcrossARestart(t *testing.T) {
	t.Parallel()
	server := operatortest.New(scene.StoreSlow())
	address, err := server.Serve("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	out := newLines()
	stop := run(t, Config{Address: address, Interval: 250 * time.Millisecond},
		Deps{Client: client(t, address), Clock: clock.System{}, Out: out, Explain: same})
	line := out.until(t, "helped")
	for _, want := range []string{
		"03:12:44  helped: SLOWLY  limit: the store: it takes no more at once  over: IN ABOUT 14m", "level 1  offered 130/s  refused 0/s",
		"set 24/s  mails 1.1/s  waiting 19 k  oldest 4m10s  parked 0\n",
	} {
		if !strings.Contains(line, want) {
			t.Errorf("%q is not in %q", want, line)
		}
	}
	server.Stop()
	out.until(t, "no answer: ")
	again := operatortest.New(scene.Calm())
	if _, err := again.Serve(address); err != nil {
		t.Fatal(err)
	}
	defer again.Stop()
	if line := out.until(t, "helped"); !strings.Contains(line, "helped: YES  limit: NOTHING") {
		t.Errorf("after the restart: %q", line)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// A wrong address is not an outage.
func TestTheFirstAnswerMustCome(t *testing.T) {
	t.Parallel()
	explained := errors.New("in words")
	v, err := New(Config{Address: "127.0.0.1:1"}, Deps{
		Client: client(t, "127.0.0.1:1"), Clock: clock.System{}, Out: io.Discard, Explain: func(error) error { return explained },
		Size: func() (int, int, bool) { return 80, 24, true },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Run(t.Context()); !errors.Is(err, explained) {
		t.Error(err)
	}
}

// silent is a surgegate whose machine goes away: a status, and then nothing, not even an end.
type silent struct {
	operatorv1.UnimplementedOperatorServer
	calls chan struct{}
}

func (s *silent) WatchStatus(_ *operatorv1.WatchStatusRequest, stream operatorv1.Operator_WatchStatusServer) error {
	if err := stream.Send(&operatorv1.WatchStatusResponse{Status: scene.Diagnosed(scene.Calm())}); err != nil {
		return err
	}
	s.calls <- struct{}{}
	<-stream.Context().Done()
	return nil
}

func TestSilenceIsNoticed(t *testing.T) {
	t.Parallel()
	server := operatortest.New(nil)
	s := &silent{calls: make(chan struct{}, 8)} // a call for each time that it is tried again
	address, err := server.ServeAs("127.0.0.1:0", s)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	now := clock.NewManual(scene.Now())
	out := newLines()
	stop := run(t, Config{Address: address}, Deps{Client: client(t, address), Clock: now, Out: out, Explain: same})
	<-s.calls
	out.until(t, "helped: YES")
	// Whoever waits may be between two timers, so that time goes on until it is told.
	told := make(chan struct{})
	var passing sync.WaitGroup
	passing.Go(func() {
		for {
			select {
			case <-told:
				return
			default:
				now.BlockUntil(1)
				now.Advance(time.Second)
			}
		}
	})
	out.until(t, "no answer: it does not say anything any more")
	close(told)
	passing.Wait()
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func view(t *testing.T, s *operatorv1.GetStatusResponse, noColor bool) *Top {
	t.Helper()
	v, err := New(Config{Address: "surgegate-3.eu-west-1.internal:7601", NoColor: noColor}, Deps{
		Client: operatorv1.NewOperatorClient(nil), Clock: clock.NewManual(scene.Now()), Out: io.Discard, Explain: same,
		Size: func() (int, int, bool) { return 80, 24, true },
	})
	if err != nil {
		t.Fatal(err)
	}
	if s != nil {
		if err := v.take(event{status: scene.Diagnosed(s)}); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

func TestAFrameFitsEveryTerminal(t *testing.T) {
	t.Parallel()
	for name, s := range scene.All() {
		v := view(t, s, false)
		for range 300 {
			v.history.add(s)
		}
		for _, lost := range []error{nil, errors.New(strings.Repeat("words ", 60))} {
			v.lost = lost
			for v.section = everything; v.section < sections; v.section++ {
				for _, size := range [][2]int{{1, 1}, {20, 5}, {79, 24}, {99, 30}, {199, 60}, {399, 100}} {
					frame := v.frame(size[0], size[1])
					if len(frame) != size[1] {
						t.Errorf("%s: %d lines at %v", name, len(frame), size)
					}
					for _, line := range frame {
						if screen.Visible(line) > size[0] {
							t.Errorf("%s: %d columns at %v: %q", name, screen.Visible(line), size, line)
						}
					}
				}
			}
		}
	}
}

// What a terminal of 80 by 24 shows is enough to act on, whatever is wrong.
func TestASmallTerminalShowsWordsAndTables(t *testing.T) {
	t.Parallel()
	for name, s := range scene.All() {
		text := strings.Join(view(t, s, true).frame(79, 24), "\n")
		r := scene.Diagnosed(s).GetDiagnosis()
		want := []string{"helped? " + r.GetHelped().GetWord(), "LANE ", "apply ", "DOWNSTREAM ", "hash_pool ", "q quit"}
		if len(r.GetActions()) > 0 {
			want = append(want, r.GetActions()[0].GetCommand())
		}
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%s: %q is not in\n%s", name, w, text)
			}
		}
		if strings.Contains(text, "\x1b") {
			t.Errorf("%s: colours", name)
		}
	}
}

func TestAWideTerminalHasHistories(t *testing.T) {
	t.Parallel()
	v := view(t, scene.StoreSlow(), true)
	for range 200 {
		v.history.add(scene.StoreSlow())
	}
	wide, narrow := strings.Join(v.frame(199, 50), "\n"), strings.Join(v.frame(79, 50), "\n")
	if !strings.Contains(wide, "HISTORY") || strings.Count(wide, "████████") < 4 || strings.Contains(narrow, "HISTORY") {
		t.Errorf("wide:\n%s\nnarrow:\n%s", wide, narrow)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	v := view(t, scene.Calm(), true)
	shows := func(text string) bool { return strings.Contains(strings.Join(v.frame(99, 40), "\n"), text) }
	v.key('p')
	if err := v.take(event{status: scene.Diagnosed(scene.StoreDark())}); err != nil {
		t.Fatal(err)
	}
	if !shows("FROZEN") || !shows("helped? YES") {
		t.Error("frozen, it does not show what it froze")
	}
	v.key('p')
	if shows("FROZEN") || !shows("helped? NO") {
		t.Error("thawed, it does not show now")
	}
	for _, want := range []string{"[history]", "[overrides]", "[everything]"} {
		v.key(screen.Tab)
		if !shows(want) {
			t.Errorf("no %s", want)
		}
	}
	v.section = histories
	if !shows("SINCE 03:12:44 UTC") || !shows("store a call") || !shows("disk left") {
		t.Errorf("%s", strings.Join(v.frame(99, 40), "\n"))
	}
	if v.key('x') || !v.key('q') || !v.key(screen.CtrlC) {
		t.Error("what ends it")
	}
	if err := v.take(event{err: errors.New("nobody listens")}); err != nil {
		t.Fatal(err)
	}
	if !shows("NO ANSWER for 0s, trying again each second: nobody listens") {
		t.Error("an outage is not told")
	}
}

func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	var h history
	s := scene.Calm()
	for range historyPoints + 10 {
		h.add(s)
	}
	if len(h.points) != historyPoints || !h.since().Equal(scene.Now()) {
		t.Errorf("%d points since %s", len(h.points), h.since())
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for field, cfg := range map[string]Config{"address": {}, "interval": {Address: "a", Interval: time.Millisecond}} {
		if _, err := New(cfg, Deps{}); err == nil || !strings.HasPrefix(err.Error(), field+":") {
			t.Errorf("%v", err)
		}
	}
	if _, err := New(Config{Address: "a"}, Deps{}); err == nil {
		t.Error("without anything to work with")
	}
}

package stormlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/surgegate/surgegate/pkg/clock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newRecorder(t *testing.T, c clock.Clock) (*Recorder, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "trace.zst")
	r, err := NewRecorder(RecorderConfig{Path: path}, RecorderDeps{Clock: c, Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r, path
}

func readEvents(t *testing.T, path string) (list []Event) {
	t.Helper()
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close() //nolint:errcheck // read to its end
	if r.Header().ID != "hmac" {
		t.Errorf("header %+v", r.Header())
	}
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, ErrTruncated) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
}

func TestRecorder_TurnsCallsIntoEvents(t *testing.T) {
	t.Parallel()
	start := time.Unix(1_700_000_000, 0)
	r, path := newRecorder(t, clock.NewManual(start))
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	for _, c := range []Call{
		{At: at(1), Op: OpStart, Key: "ada", Deadline: 2_998_001 * time.Microsecond},
		{At: at(2), Op: OpStart, Key: "bob", Attempt: 2},
		{At: at(1.5), Op: OpStart, Key: "ada"}, // arrives after a later call
		{At: at(3), Op: OpComplete, Key: "account"},
		{At: at(400), Op: OpStart, Key: "ada"},
		{At: at(401), Op: OpTicket, Key: "ticket"},
	} {
		r.Observe(c)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	got := readEvents(t, path)
	if len(got) != 6 {
		t.Fatalf("%d events", len(got))
	}
	for i, want := range []Event{
		{T: 1_000_000, Cause: Exogenous, Deadline: 2999 * time.Millisecond},
		{T: 1_500_000, Cause: Endogenous},
		{T: 2_000_000, Cause: Endogenous, Attempt: 2},
		{T: 3_000_000, Cause: Endogenous, Op: OpComplete},
		{T: 400_000_000, Cause: Exogenous},
		{T: 401_000_000, Cause: Endogenous, Op: OpTicket},
	} {
		e := got[i]
		e.U = 0
		if e != want {
			t.Errorf("event %d: %+v, want %+v", i, e, want)
		}
	}
	if got[0].U != got[1].U || got[0].U != got[4].U || got[0].U == got[2].U || got[0].U == 0 {
		t.Errorf("people %d %d %d %d", got[0].U, got[1].U, got[2].U, got[4].U)
	}
	if n := testutil.ToFloat64(r.events); n != 6 {
		t.Errorf("%v events counted", n)
	}
}

func TestRecorder_WritesNoIdentifiers(t *testing.T) {
	t.Parallel()
	r, path := newRecorder(t, clock.System{})
	for i := range 1000 {
		r.Observe(Call{At: time.Now(), Key: fmt.Sprintf("canary-%d@example.com", i%7)})
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := zstd.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	text, err := io.ReadAll(plain)
	if err != nil || len(text) < 10_000 || bytes.Contains(text, []byte("canary")) {
		t.Errorf("%d bytes, canary %v, %v", len(text), bytes.Contains(text, []byte("canary")), err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// Observe never blocks, so with callers this fast some calls are dropped. Each call is either written or counted.
func TestRecorder_WritesOrCountsEveryCall(t *testing.T) {
	t.Parallel()
	r, path := newRecorder(t, clock.System{})
	const callers, each = 8, 20_000
	var all sync.WaitGroup
	for c := range callers {
		all.Go(func() {
			for i := range each {
				r.Observe(Call{At: time.Now(), Key: fmt.Sprint(c, i)})
			}
		})
	}
	all.Wait()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	written, dropped := testutil.ToFloat64(r.events), testutil.ToFloat64(r.dropped)
	if got := readEvents(t, path); float64(len(got)) != written || written+dropped != callers*each || written == 0 {
		t.Errorf("%d in the file, %v written, %v dropped of %d", len(got), written, dropped, callers*each)
	}
}

func TestRecorder_FlushesEverySecond(t *testing.T) {
	t.Parallel()
	c := clock.NewManual(time.Unix(1_700_000_000, 0))
	r, path := newRecorder(t, c)
	c.BlockUntil(1)
	r.Observe(Call{At: c.Now(), Key: "ada"})
	for deadline := time.Now().Add(20 * time.Second); len(readEvents(t, path)) == 0; {
		if time.Now().After(deadline) {
			t.Fatal("nothing was flushed")
		}
		c.Advance(time.Second)
		c.BlockUntil(1)
	}
}

func TestNewRecorder_RefusesBadPaths(t *testing.T) {
	t.Parallel()
	_, path := newRecorder(t, clock.System{})
	if _, err := NewRecorder(RecorderConfig{Path: path}, RecorderDeps{Registerer: prometheus.NewRegistry()}); err == nil || !strings.Contains(err.Error(), "never written over") {
		t.Errorf("an existing file: %v", err)
	}
	full := RecorderConfig{Path: path + "-{time}", MinFree: 1 << 60}
	if _, err := NewRecorder(full, RecorderDeps{Registerer: prometheus.NewRegistry()}); err == nil || !strings.Contains(err.Error(), "another disk") {
		t.Errorf("a disk without room: %v", err)
	}
	full.MinFree = -1
	again, err := NewRecorder(full, RecorderDeps{Clock: clock.NewManual(time.Unix(1_661_310_000, 0)), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path + "-20220824T030000.000000Z"); err != nil {
		t.Error(err)
	}
	if _, err := NewRecorder(RecorderConfig{}, RecorderDeps{}); err == nil {
		t.Error("a recorder without a path was made")
	}
}

func BenchmarkObserve(b *testing.B) {
	r, err := NewRecorder(RecorderConfig{Path: filepath.Join(b.TempDir(), "trace")}, RecorderDeps{Registerer: prometheus.NewRegistry()})
	if err != nil {
		b.Fatal(err)
	}
	at := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		r.Observe(Call{At: at, Key: "ada@example.com", Deadline: time.Second})
	}
	if err := r.Close(); err != nil {
		b.Fatal(err)
	}
}

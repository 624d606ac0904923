package stormlog_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/stormlog"
)

var head = stormlog.Header{T0: time.Date(2022, 8, 24, 3, 0, 0, 0, time.UTC), Seed: 7, ID: "number", Model: json.RawMessage(`{"people":3}`)}

// randomEvents returns n random events in order. Many have the same time.
func randomEvents(n int, seed uint64) []stormlog.Event {
	r := rand.New(rand.NewPCG(seed, 1))
	list := make([]stormlog.Event, n)
	t := int64(0)
	for i := range list {
		if r.IntN(3) > 0 {
			t += r.Int64N(5000)
		}
		list[i] = stormlog.Event{
			T: t, U: r.Uint64() >> r.IntN(64), Op: stormlog.Op(r.IntN(5)), Source: stormlog.Source(r.IntN(7)), Cause: stormlog.Cause(r.IntN(2)),
			Attempt: r.Uint32() >> (1 + r.IntN(31)), Deadline: time.Duration(r.IntN(1e6)) * time.Millisecond, Office: r.Uint64() >> r.IntN(65),
		}
	}
	return list
}

func write(t testing.TB, list []stormlog.Event) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := stormlog.NewWriter(&b, head)
	if err != nil {
		t.Fatal(err)
	}
	for i := range list {
		if err := w.Write(&list[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if w.Events() != int64(len(list)) {
		t.Errorf("%d events of %d", w.Events(), len(list))
	}
	return b.Bytes()
}

// read returns the events up to the first error.
func read(data []byte) (h stormlog.Header, list []stormlog.Event, err error) {
	r, err := stormlog.NewReader(bytes.NewReader(data))
	if err != nil {
		return h, nil, err
	}
	defer r.Close() //nolint:errcheck // nothing to close
	for {
		e, err := r.Next()
		if err != nil {
			if _, again := r.Next(); !errors.Is(again, err) {
				return h, list, fmt.Errorf("a second call returned another error: %w", again)
			}
			return r.Header(), list, err
		}
		list = append(list, e)
	}
}

func TestReader_ReadsWhatWriterWrote(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 50_000} {
		want := randomEvents(n, uint64(n))
		data := write(t, want)
		h, got, err := read(data)
		if !errors.Is(err, io.EOF) || !slices.Equal(got, want) {
			t.Errorf("%d events: %d read, %v", n, len(got), err)
		}
		if !h.T0.Equal(head.T0) || h.Seed != 7 || h.ID != "number" || string(h.Model) != `{"people":3}` {
			t.Errorf("header %+v", h)
		}
		if !bytes.Equal(data, write(t, want)) {
			t.Error("the same events made other bytes")
		}
	}
}

const first = `{"fmt":"storm-trace","v":1,"t0":"2022-08-24T03:00:00Z","unit":"us","seed":7,"model":{"x":[1]},"id":"hmac"}` + "\n"

func TestReader_AcceptsHandWrittenLines(t *testing.T) {
	t.Parallel()
	_, got, err := read([]byte(first + `{"t":5,"u":9,"op":"start","src":"mail","cause":"exo","att":0,"dl_ms":3000}
 { "op" : "check", "t" : 5, "new_field": {"a": 1}, "cause":"endo" }

{"u":18446744073709551615,"t":6,"op":"scan","src":"scan","att":2,"off":4}` + "\r\n" + `{"t":6,"op":"ticket"}`))
	want := []stormlog.Event{
		{T: 5, U: 9, Source: stormlog.SourceMail, Deadline: 3 * time.Second},
		{T: 5, Op: stormlog.OpCheck, Cause: stormlog.Endogenous},
		{T: 6, U: 1<<64 - 1, Op: stormlog.OpScan, Source: stormlog.SourceScan, Attempt: 2, Office: 4},
		{T: 6, Op: stormlog.OpTicket},
	}
	if !errors.Is(err, io.EOF) || !slices.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestReader_ErrorsNameTheLineAndTheRemedy(t *testing.T) {
	t.Parallel()
	good := `{"t":5,"u":9,"op":"start","src":"mail","cause":"exo","att":0,"dl_ms":3000}` + "\n"
	for text, c := range map[string]struct {
		is   error
		want string
	}{
		"":                           {stormlog.ErrFormat, "empty"},
		"hello\n":                    {stormlog.ErrFormat, "storm synth"},
		`{"fmt":"har","v":1}` + "\n": {stormlog.ErrFormat, "storm-trace"},
		strings.Replace(first, `"v":1`, `"v":2`, 1):        {stormlog.ErrVersion, "version 2"},
		strings.Replace(first, `"us"`, `"ns"`, 1):          {stormlog.ErrFormat, `"ns"`},
		first + good + `{"t":4,"op":"start"}` + "\n":       {stormlog.ErrOrder, ":3:"},
		first + good + "garbage\n":                         {stormlog.ErrFormat, ":3:"},
		first + `{"u":4,"op":"start"}` + "\n":              {stormlog.ErrFormat, "t is missing"},
		first + `{"t":-1,"op":"start"}` + "\n":             {stormlog.ErrFormat, "at least 0"},
		first + `{"t":1}` + "\n":                           {stormlog.ErrFormat, "op is missing"},
		first + `{"t":1,"op":"login"}` + "\n":              {stormlog.ErrFormat, `op is "login"; it is one of`},
		first + `{"t":1,"op":"start","src":"moon"}` + "\n": {stormlog.ErrFormat, "src is"},
		first + `{"t":1,"op":"start","dl_ms":-5}` + "\n":   {stormlog.ErrFormat, "dl_ms"},
		first + `{"t":99999999999999999999,"op":"start"}`:  {stormlog.ErrFormat, ":2:"},
		first + good + `{"t":6,"op":"st`:                   {stormlog.ErrTruncated, "1 complete events"},
		first + strings.Repeat("x", 2<<20) + "\n":          {stormlog.ErrFormat, "longer than"},
		first[:20]: {stormlog.ErrFormat, "ends in its first line"},
	} {
		_, _, err := read([]byte(text))
		if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.120q: %v, want %v with %q", text, err, c.is, c.want)
		}
	}
}

// Wherever the file is cut, every event of a complete block is read, in order, and then ErrTruncated.
func TestReader_ReadsATruncatedFile(t *testing.T) {
	t.Parallel()
	want := randomEvents(3000, 5)
	data := write(t, want)
	most := 0
	for cut := 0; cut < len(data); cut += 1 + len(data)/400 {
		_, got, err := read(data[:cut])
		if err == nil || errors.Is(err, io.EOF) || len(got) > len(want) || !slices.Equal(got, want[:len(got)]) {
			t.Fatalf("cut at %d of %d bytes: %d events, %v", cut, len(data), len(got), err)
		}
		if len(got) > 0 && !errors.Is(err, stormlog.ErrTruncated) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		most = max(most, len(got))
	}
	if most < 1000 {
		t.Errorf("at most %d of %d events were read of a cut file", most, len(want))
	}
}

func TestWriter_FlushMakesEventsReadable(t *testing.T) {
	t.Parallel()
	list := randomEvents(10, 1)
	var b bytes.Buffer
	w, err := stormlog.NewWriter(&b, head)
	if err != nil {
		t.Fatal(err)
	}
	for i := range list {
		if err := errors.Join(w.Write(&list[i]), w.Flush()); err != nil {
			t.Fatal(err)
		}
		_, got, err := read(b.Bytes())
		if !errors.Is(err, stormlog.ErrTruncated) || len(got) != i+1 {
			t.Fatalf("after %d events: %d, %v", i+1, len(got), err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(&list[9]); err == nil {
		t.Error("a closed writer took an event")
	}
}

func TestWriter_RefusesBadEvents(t *testing.T) {
	t.Parallel()
	w, err := stormlog.NewWriter(io.Discard, head)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(&stormlog.Event{T: 5}); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(&stormlog.Event{T: 4}); !errors.Is(err, stormlog.ErrOrder) {
		t.Errorf("out of order: %v", err)
	}
	for _, e := range []stormlog.Event{{T: -1}, {T: 9, Op: 99}, {T: 9, Source: 99}, {T: 9, Cause: 9}, {T: 9, Deadline: -1}} {
		if err := w.Write(&e); !errors.Is(err, stormlog.ErrFormat) {
			t.Errorf("%+v: %v", e, err)
		}
	}
	if err := w.Write(&stormlog.Event{T: 5}); err != nil || w.Events() != 2 {
		t.Errorf("after refusals: %v, %d events", err, w.Events())
	}
	path := filepath.Join(t.TempDir(), "trace")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := stormlog.Create(path, head); err == nil || !strings.Contains(err.Error(), "never written over") {
		t.Errorf("an existing file: %v", err)
	}
	if _, err := stormlog.Open(path + ".not"); err == nil {
		t.Error("a missing file was opened")
	}
	if _, err := stormlog.Open(path); !errors.Is(err, stormlog.ErrFormat) {
		t.Errorf("%v", err)
	}
}

func TestWriter_ReportsAFullDisk(t *testing.T) {
	t.Parallel()
	w, err := stormlog.NewWriter(&full{room: 100 << 10}, head)
	if err != nil {
		t.Fatal(err)
	}
	list := randomEvents(200_000, 2)
	for i := range list {
		if err = w.Write(&list[i]); err != nil {
			break
		}
	}
	if err = errors.Join(err, w.Flush()); !errors.Is(err, errFull) {
		t.Errorf("%v", err)
	}
	if err := w.Close(); !errors.Is(err, errFull) {
		t.Errorf("closing: %v", err)
	}
}

var errFull = errors.New("no space left on device")

type full struct{ room int }

func (f *full) Write(p []byte) (int, error) {
	if f.room -= len(p); f.room < 0 {
		return 0, errFull
	}
	return len(p), nil
}

// Any input is either refused or read. What was read can be written and read again.
func FuzzReader(f *testing.F) {
	f.Add([]byte(first + `{"t":5,"u":9,"op":"start","src":"mail","cause":"exo","att":0,"dl_ms":3000}` + "\n"))
	f.Add(write(f, randomEvents(20, 3)))
	f.Add([]byte(first + `{"t":05,"u":9,"op":"start","src":"mail","cause":"exo","att":0,"dl_ms":3000}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, list, err := read(data)
		if err == nil {
			t.Fatal("no end")
		}
		if _, again, err := read(write(t, list)); !errors.Is(err, io.EOF) || !slices.Equal(again, list) {
			t.Errorf("%d events became %d, %v", len(list), len(again), err)
		}
	})
}

// parseFast and encoding/json read the same event from a line.
func FuzzLine(f *testing.F) {
	f.Add(`{"t":5,"u":9,"op":"start","src":"mail","cause":"exo","att":0,"dl_ms":3000}`)
	f.Add(`{"t":5,"u":9,"op":"scan","src":"loop","cause":"endo","att":4294967295,"dl_ms":0,"off":18446744073709551615}`)
	f.Fuzz(func(t *testing.T, line string) {
		if strings.ContainsAny(line, "\r\n") {
			return
		}
		_, fast, fastErr := read([]byte(first + line + "\n"))
		_, slow, slowErr := read([]byte(first + " " + line + "\n"))
		if !slices.Equal(fast, slow) || errors.Is(fastErr, io.EOF) != errors.Is(slowErr, io.EOF) {
			t.Errorf("%q: %v, %v; slowly %v, %v", line, fast, fastErr, slow, slowErr)
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	list := randomEvents(100_000, 9)
	b.Run("stormlog", func(b *testing.B) {
		w, err := stormlog.NewWriter(io.Discard, head)
		if err != nil {
			b.Fatal(err)
		}
		t := int64(0)
		for i := 0; b.Loop(); i++ {
			e := list[i%len(list)]
			t += 100
			e.T = t
			if err := w.Write(&e); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
	})
	b.Run("encoding-json-without-zstd", func(b *testing.B) {
		encoder := json.NewEncoder(io.Discard)
		for i := 0; b.Loop(); i++ {
			e := &list[i%len(list)]
			if err := encoder.Encode(map[string]any{
				"t": e.T, "u": e.U, "op": e.Op.String(), "src": e.Source.String(), "cause": e.Cause.String(), "att": e.Attempt, "dl_ms": e.Deadline.Milliseconds(),
			}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkRead(b *testing.B) {
	data := write(b, randomEvents(100_000, 9))
	b.ResetTimer()
	n := 0
	for b.Loop() {
		r, err := stormlog.NewReader(bytes.NewReader(data))
		if err != nil {
			b.Fatal(err)
		}
		for {
			if _, err := r.Next(); err != nil {
				break
			}
			n++
		}
		_ = r.Close()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/event")
}

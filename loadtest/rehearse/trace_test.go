package rehearse

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/surgegate/surgegate/loadtest/crowd"
	"github.com/surgegate/surgegate/loadtest/people"
	"github.com/surgegate/surgegate/pkg/stormlog"
)

const traceHead = `{"fmt":"storm-trace","v":1,"t0":"2022-08-24T03:00:00Z","unit":"us","seed":7,"id":"hmac"}` + "\n"

func readAll(t *testing.T, text string, verbatim bool) (list []crowd.Arrival, tr *Trace, err error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "trace")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	tr, err = OpenTrace(path, verbatim)
	if err != nil {
		return nil, nil, err
	}
	defer tr.Close() //nolint:errcheck // it was read
	for {
		a, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return list, tr, nil
		}
		if err != nil {
			return list, tr, err
		}
		list = append(list, a)
	}
}

func TestATraceAsArrivals(t *testing.T) {
	t.Parallel()
	text := traceHead + `{"t":1000000,"u":9,"op":"start","src":"mail","dl_ms":3000}
{"t":1000000,"u":10,"op":"start","off":3}
{"t":1500000,"u":9,"op":"check","cause":"endo"}
{"t":1500000,"u":9,"op":"start","cause":"endo","att":1}
{"t":2000000,"u":18446744073709551615,"op":"start","src":"attack"}
{"t":2000000,"u":7,"op":"scan","src":"scan"}
{"t":2500000,"u":4,"op":"start","src":"loop"}
`
	got, tr, err := readAll(t, text, false)
	want := []crowd.Arrival{
		{Number: 9, Deadline: 3 * time.Second},
		{Number: 10, Office: 3},
		{At: time.Second, Number: 1<<62 - 1, Who: crowd.Attacker},
		{At: 1500 * time.Millisecond, Number: 4, Who: crowd.Lone, Op: people.OpStart, Client: "loop-4"},
	}
	if err != nil || !slices.Equal(got, want) || tr.LeftOut != 2 || len(tr.Notes()) != 1 {
		t.Errorf("%+v, %v, notes %q", got, err, tr.Notes())
	}
	got, _, err = readAll(t, text, true)
	if err != nil || len(got) != 6 || slices.ContainsFunc(got, func(a crowd.Arrival) bool { return a.Who != crowd.Lone }) || got[2].Op != people.OpCheck {
		t.Errorf("verbatim: %+v, %v", got, err)
	}
}

func TestAwkwardTraces(t *testing.T) {
	t.Parallel()
	if got, _, err := readAll(t, traceHead, false); err != nil || len(got) != 0 {
		t.Errorf("nobody: %v, %v", got, err)
	}
	cut := traceHead + `{"t":1,"op":"start"}` + "\n" + `{"t":2,"op":"sta`
	if got, tr, err := readAll(t, cut, false); err != nil || len(got) != 1 || len(tr.Notes()) != 1 || !strings.Contains(tr.Notes()[0], "cut off") {
		t.Errorf("cut off: %v, %v", got, err)
	}
	if _, _, err := readAll(t, traceHead+`{"t":2,"op":"start"}`+"\n"+`{"t":1,"op":"start"}`+"\n", false); !errors.Is(err, stormlog.ErrOrder) {
		t.Errorf("out of order: %v", err)
	}
	if _, _, err := readAll(t, strings.Replace(traceHead, `"v":1`, `"v":9`, 1), false); !errors.Is(err, stormlog.ErrVersion) {
		t.Errorf("another version: %v", err)
	}
}

// People of a trace go all the way, through the real gateway.
func TestATraceIsReplayed(t *testing.T) {
	t.Parallel()
	maildir := filepath.Join(t.TempDir(), "mail")
	w := begin(t, "maildir: {path: "+maildir+"}")
	path := filepath.Join(t.TempDir(), "trace.zst")
	made, err := stormlog.Create(path, stormlog.Header{T0: time.Unix(0, 0), ID: "number"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		if err := made.Write(&stormlog.Event{T: int64(i/3) * 20_000, U: uint64(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := made.Close(); err != nil {
		t.Fatal(err)
	}
	tr, err := OpenTrace(path, false)
	if err != nil {
		t.Fatal(err)
	}
	o, err := Run(t.Context(), Config{
		Targets: []string{w.gateway}, People: quick, MaxLag: time.Minute, Maildir: maildir, Limit: 40 * time.Second, Out: t.TempDir(),
		Storm: Storm{Name: path, Seed: 1, Open: func() (Stream, error) { return NewShaped(tr, Shape{}), nil }},
	}, Deps{Out: io.Discard})
	if err != nil || o.Arm.Completed != 30 {
		t.Errorf("%d of 30 completed, %v", o.Arm.Completed, err)
	}
}

package pace_test

import (
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/pace"
)

const (
	write  pace.Kind = 0
	lookup pace.Kind = 1
)

// A limit that was found with look-ups is not spent on the first writes, of which nobody knows yet what they cost.
func TestTheFirstWritesAreFew(t *testing.T) {
	t.Parallel()
	p, err := pace.NewChart(pace.ChartConfig{})
	if err != nil {
		t.Fatal(err)
	}
	// Look-ups of 20 ms at a store with 60 workers.
	now, out := epoch, []time.Time{}
	for end := epoch.Add(20 * time.Second); now.Before(end); now = now.Add(time.Millisecond) {
		for len(out) > 0 && !out[0].After(now) {
			p.Done(now, pace.Call{Kind: lookup, Start: now.Add(-20 * time.Millisecond), Items: 1})
			out = out[1:]
		}
		for len(out) < 60 && p.Ask(now, lookup, 1).Go {
			out = append(out, now.Add(20*time.Millisecond))
		}
	}
	if limit := p.Limits().Concurrency; limit < 20 {
		t.Fatalf("a limit of %d with look-ups: the test shows nothing", limit)
	}
	for _, at := range out {
		p.Done(at, pace.Call{Kind: lookup, Start: at.Add(-20 * time.Millisecond), Items: 1})
		now = at
	}
	writes := 0
	for p.Ask(now, write, 1).Go {
		writes++
	}
	if writes < 1 || writes > 2 {
		t.Errorf("%d writes at once before the first has ended", writes)
	}
}

// While the caller is short of processor time, what it measures raises no limit. Afterwards it does.
func TestAStarvedCallerRaisesNoLimit(t *testing.T) {
	t.Parallel()
	w := newWorkers(t, pace.ChartConfig{}, 40, 10*time.Millisecond)
	steered := pace.NewSteered(w.pacer)
	w.pacer = steered
	steered.SetStarved(w.now, true)
	w.run(10 * time.Second)
	if l := w.pacer.Limits().Concurrency; l > 4 {
		t.Errorf("a limit of %d while starved", l)
	}
	steered.SetStarved(w.now, false)
	w.run(10 * time.Second)
	if l := w.pacer.Limits().Concurrency; l < 30 {
		t.Errorf("a limit of %d once there was processor time", l)
	}
}

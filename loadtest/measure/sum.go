package measure

import (
	"slices"
	"sort"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/surgegate/surgegate/loadtest/people"
)

// Truth is what the store holds after the run.
type Truth struct {
	Has                      func(person uint64) bool // the password that the person chose
	AppliedTwice, OutOfOrder int
	Crashes                  int
}

// Arm sums up, once everybody's outcome is in. Without a truth, what only the store can tell stays 0; with one, outcomes
// must have been kept.
func (r *Recorder) Arm(name string, truth *Truth) Arm {
	p50, p99 := r.Waits()
	r.mu.Lock()
	defer r.mu.Unlock()
	came := int(r.came.Load())
	a := Arm{
		Name: name, People: came, FailedCalls: int(r.failed.Load()), AttackerFails: int(r.attackerFailed.Load()),
		OfferedCalls: int(r.sent.Load()), PeopleCalls: int(r.peopleSent.Load()), PeakBacklog: r.peak,
		WaitP50MS: p50.Milliseconds(), WaitP99MS: p99.Milliseconds(), Samples: r.samples, Broken: []string{},
		Accepted: r.totals.accepted, Promised: r.totals.promised, Completed: r.totals.completed, GaveUp: r.totals.gaveUp,
		StillWaiting: r.totals.inside, Ops: r.opsLocked(), Reasons: r.reasonsLocked(),
	}
	if len(r.samples) > 0 {
		last := r.samples[len(r.samples)-1]
		a.Seconds, a.StoreCrashes = last.Seconds, last.Crashes
	}
	a.StoreSeen = truth != nil || slices.ContainsFunc(r.samples, func(s Sample) bool { return s.StoreSeen })
	a.EverybodyP50MS, a.EverybodyP99MS = r.everybodyLocked(50), r.everybodyLocked(99)
	if truth == nil {
		return a
	}
	a.Audited, a.StoreCrashes, a.AppliedTwice, a.OutOfOrder = true, truth.Crashes, truth.AppliedTwice, truth.OutOfOrder
	for _, o := range r.outcomes {
		has := truth.Has(o.Person)
		count(&a.Lost, o.Promised && !has)
		count(&a.Untold, has && !o.Completed)
	}
	return a
}

func (r *Recorder) opsLocked() []Op {
	list := []Op{}
	for i, t := range r.ops {
		if t.calls == 0 {
			continue
		}
		list = append(list, Op{
			Op: people.Op(i).String(), Calls: t.calls, Refused: t.refused, Failed: t.failed,
			Latency: quantiles(t.latency), Refusal: quantiles(t.refusal),
		})
	}
	return list
}

func quantiles(h *hdrhistogram.Histogram) Quantiles {
	return Quantiles{
		P50: h.ValueAtQuantile(50), P90: h.ValueAtQuantile(90), P99: h.ValueAtQuantile(99), P999: h.ValueAtQuantile(99.9), Max: h.Max(),
	}
}

func (r *Recorder) reasonsLocked() []Reason {
	list := []Reason{}
	for name, n := range r.reasons {
		list = append(list, Reason{Reason: name, Calls: n})
	}
	sort.Slice(list, func(i, j int) bool {
		return list[i].Calls > list[j].Calls || list[i].Calls == list[j].Calls && list[i].Reason < list[j].Reason
	})
	return list
}

// Outcomes are those kept, in the order in which people ended.
func (r *Recorder) Outcomes() []people.Outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.outcomes
}

// Histograms are copies, in µs, by name: wait, and of each call its latency and its refusals' from the intended time.
func (r *Recorder) Histograms() map[string]*hdrhistogram.Histogram {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := map[string]*hdrhistogram.Histogram{"wait": hdrhistogram.Import(r.wait.Export())}
	for i, t := range r.ops {
		if t.calls > 0 {
			name := people.Op(i).String()
			all[name] = hdrhistogram.Import(t.latency.Export())
			all[name+"-refused"] = hdrhistogram.Import(t.refusal.Export())
		}
	}
	return all
}

// Wait returns a percentile of those who have completed.
func (r *Recorder) Wait(percent float64) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Duration(r.wait.ValueAtQuantile(percent)) * time.Microsecond
}

// everybodyLocked is a percentile of all who came, in ms; -1 when it falls among those who never got there.
func (r *Recorder) everybodyLocked(percent float64) int64 {
	came, done := float64(r.came.Load()), r.totals.completed
	if done == 0 || float64(done) < came*percent/100 {
		return -1
	}
	return r.wait.ValueAtQuantile(percent*came/float64(done)) / 1000
}

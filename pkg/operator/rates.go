package operator

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/dispatch"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// rateWindow is the time over which rates are measured.
const rateWindow = 10 * time.Second

// maxSamples bounds the samples that are kept: one a second of the window, and one on either side.
const maxSamples = 12

// rates measures what happened a second over the last rateWindow. It is safe for concurrent use.
type rates struct {
	mu      sync.Mutex
	samples []sample // oldest first
}

// sample is the state of all counters at one moment.
type sample struct {
	at          time.Time
	lanes       map[reset.Lane]laneCount
	downstreams map[string]dispatch.Counts
	decisions   []admission.Count // in the same order in every sample
	refusals    map[reset.Kind]uint64
	withheld    uint64 // mails
	tokens      float64
}

type laneCount struct{ ended, held uint64 }

// takeSample reads the counters.
func takeSample(now time.Time, stats queue.Stats, d Deps) sample {
	s := sample{
		at: now, lanes: make(map[reset.Lane]laneCount, len(stats.Lanes)), downstreams: map[string]dispatch.Counts{},
		decisions: d.Admission.Counts(), refusals: d.Gate.Refusals(), withheld: d.Work.MailsWithheld(), tokens: d.Admission.GlobalTokens(),
	}
	for _, x := range d.Work.Status() {
		s.downstreams[x.Name] = x.Counts
	}
	for lane, l := range stats.Lanes {
		s.lanes[lane] = laneCount{ended: l.Ended, held: countHeld(l)}
	}
	return s
}

func countHeld(l queue.LaneStats) (n uint64) {
	for _, w := range l.Waiting {
		n += w
	}
	return n + l.Leased + l.Retrying + l.Parked
}

// add appends a sample and drops those that the window no longer needs.
func (r *rates) add(s sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.samples); n > 0 && !s.at.After(r.samples[n-1].at) {
		r.samples = nil // the clock was set back
	}
	for len(r.samples) > 1 && (s.at.Sub(r.samples[1].at) >= rateWindow || len(r.samples) >= maxSamples) {
		r.samples = r.samples[1:]
	}
	r.samples = append(r.samples, s)
}

// span is the first and the last sample of the window.
type span struct {
	first, last sample
	seconds     float64 // between them; 0 if there is no window yet
}

// span returns the window that ends now. It is empty if the last sample is older than the window: when a disk stalls the queue's
// counters, what happened before must not be told as happening now.
func (r *rates) span(now time.Time) span {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.samples)
	if n == 0 {
		return span{}
	}
	w := span{first: r.samples[0], last: r.samples[n-1]}
	if now.Sub(w.last.at) <= rateWindow {
		w.seconds = w.last.at.Sub(w.first.at).Seconds()
	}
	return w
}

// lane returns how many jobs a second came into a lane and how many ended.
func (w span) lane(l reset.Lane) (arrived, ended float64) {
	if w.seconds <= 0 {
		return 0, 0
	}
	a, z := w.first.lanes[l], w.last.lanes[l]
	gone := float64(z.ended) - float64(a.ended)
	came := gone + float64(z.held) - float64(a.held)
	return max(0, came) / w.seconds, max(0, gone) / w.seconds
}

// rate returns how much a counter grew a second.
func (w span) rate(first, last uint64) float64 {
	if w.seconds <= 0 || last < first {
		return 0
	}
	return float64(last-first) / w.seconds
}

// decided returns how many calls a second admission decided on with the i-th reason, and how many it would have refused.
func (w span) decided(i int) (calls, dryRun float64) {
	if w.seconds <= 0 {
		return 0, 0
	}
	a, z := w.first.decisions[i], w.last.decisions[i]
	return w.rate(a.Calls, z.Calls), w.rate(a.DryRun, z.DryRun)
}

// refused returns how many calls a second a limit refused, or would have refused.
func (w span) refused(limit string) (perSecond float64) {
	if limit == limitIdentifier { // over it there is a ticket and no mail
		return w.rate(w.first.withheld, w.last.withheld)
	}
	prefix := map[string]string{limitGlobal: "limit_global", limitClient: "limit_client_", limitLevel: "shed_level_"}[limit]
	for i, c := range w.last.decisions {
		if strings.HasPrefix(c.Reason, prefix) {
			calls, dryRun := w.decided(i)
			perSecond += calls + dryRun
		}
	}
	return perSecond
}

// reasonRate is one reason of refusals.
type reasonRate struct {
	reason string
	rate   float64
}

// lateRefusals are refusals of calls that admission has let in: no room, no time, no durability.
func lateRefusals() []reset.Kind {
	return []reset.Kind{reset.KindQueueFull, reset.KindNotDurable, reset.KindDraining, reset.KindKeyUnknown, reset.KindStoreUnknown}
}

// intake is what came in, in calls a second.
type intake struct {
	admitted, limited, shed, refused float64
	tokens                           float64      // left in the global bucket
	reasons                          []reasonRate // most first; only what is over 0
}

func (w span) intake() intake {
	in := intake{tokens: w.last.tokens}
	addReason := func(reason string, rate float64) {
		if rate > 0 {
			in.reasons = append(in.reasons, reasonRate{reason, rate})
		}
	}
	for i, c := range w.last.decisions {
		rate, _ := w.decided(i)
		switch c.Decision {
		case "admitted":
			in.admitted += rate
			continue
		case "limited":
			in.limited += rate
		case "shed":
			in.shed += rate
		}
		addReason(c.Reason, rate)
	}
	for _, k := range lateRefusals() {
		rate := w.rate(w.first.refusals[k], w.last.refusals[k])
		in.refused += rate
		addReason(strings.ToLower((&reset.Error{Kind: k}).Info()), rate)
	}
	slices.SortFunc(in.reasons, func(a, b reasonRate) int {
		return cmp.Or(cmp.Compare(b.rate, a.rate), cmp.Compare(a.reason, b.reason))
	})
	return in
}

// calls is what a downstream did, a second.
type calls struct {
	ok, failed, items float64
	mean              time.Duration // of a call; 0 where there was none
	kinds             []*operatorv1.CallKindStatus
}

// calls returns what a downstream did. Overload counts as failed; calls that surgegate itself ended do not.
func (w span) calls(name string) (c calls) {
	if w.seconds <= 0 {
		return c
	}
	a, z := w.first.downstreams[name], w.last.downstreams[name]
	c.ok = float64(z.Calls.Count-a.Calls.Count) / w.seconds
	c.items = float64(z.Calls.Items-a.Calls.Items) / w.seconds
	c.failed = float64(z.Failed-a.Failed) / w.seconds
	if n := z.Ended - a.Ended; n > 0 {
		c.mean = (z.EndedTime - a.EndedTime) / time.Duration(n)
	}
	for _, k := range z.Kinds {
		var before dispatch.Calls
		if i := slices.IndexFunc(a.Kinds, func(b dispatch.KindCounts) bool { return b.Kind == k.Kind }); i >= 0 {
			before = a.Kinds[i].Calls
		}
		st := &operatorv1.CallKindStatus{
			Kind: k.Kind, CallRate: float64(k.Count-before.Count) / w.seconds, ItemRate: float64(k.Items-before.Items) / w.seconds,
		}
		if n := k.Count - before.Count; n > 0 {
			st.CallTime = duration((k.Time - before.Time) / time.Duration(n))
		}
		c.kinds = append(c.kinds, st)
	}
	return c
}

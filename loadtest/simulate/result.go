package simulate

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/surgegate/surgegate/loadtest/people"
	"github.com/surgegate/surgegate/pkg/reset"
)

// Sample is one moment of a run, with the names of loadtest/measure's; rates are means since the sample before.
type Sample struct {
	Seconds     float64 `json:"s"`
	OfferedRate float64 `json:"offered_rate"`
	FailedRate  float64 `json:"failed_rate"`
	AppliedRate float64 `json:"applied_rate"`
	Came        int     `json:"came"`
	Completed   int     `json:"completed"`
	GaveUp      int     `json:"gave_up"`
	Backlog     int     `json:"backlog"`
	Inside      int64   `json:"inside"`
	Up          bool    `json:"up"`
	Cold        bool    `json:"cold"`
	Crashes     int     `json:"crashes"`

	Level  int            `json:"level"`
	Jobs   map[string]int `json:"jobs"` // held, by lane
	Bytes  int64          `json:"bytes"`
	OldMS  int64          `json:"oldest_wait_ms"`
	Calls  int            `json:"store_calls_at_once"` // as the pacer allows
	Batch  int            `json:"store_batch"`
	MailMS int64          `json:"mail_wait_ms"` // of those handed off since the sample before, the mean
}

// Waits are quantiles in ms.
type Waits struct {
	P50  int64 `json:"p50_ms"`
	P90  int64 `json:"p90_ms"`
	P99  int64 `json:"p99_ms"`
	P999 int64 `json:"p999_ms"`
	Max  int64 `json:"max_ms"`
}

// Result is the outcome of a run; the fields that loadtest/measure.Arm has too mean the same and have its names.
type Result struct {
	Name         string `json:"name"`
	People       int    `json:"people"`
	Completed    int    `json:"completed"`
	FailedCalls  int    `json:"failed_calls"`
	StoreCrashes int    `json:"store_crashes"`
	Accepted     int    `json:"accepted"`
	WaitP50MS    int64  `json:"wait_p50_ms"`
	WaitP99MS    int64  `json:"wait_p99_ms"`
	PeakBacklog  int    `json:"peak_backlog"`

	EverybodyP50MS int64 `json:"everybody_wait_p50_ms"`
	EverybodyP99MS int64 `json:"everybody_wait_p99_ms"`
	// EverybodyP999MS is the same at 99.9 %.
	EverybodyP999MS int64 `json:"everybody_wait_p999_ms"`

	Promised      int      `json:"promised"`
	GaveUp        int      `json:"gave_up"`
	StillWaiting  int      `json:"still_waiting"`
	OfferedCalls  int      `json:"offered_calls"`
	PeopleCalls   int      `json:"people_calls"`
	Attackers     int      `json:"attackers"`
	AttackerFails int      `json:"attacker_failed_calls"`
	Seconds       float64  `json:"seconds"` // from the window's begin to the last person's end
	Samples       []Sample `json:"samples"`

	Scenario string  `json:"scenario"`
	Seed     uint64  `json:"seed"`
	Thin     float64 `json:"thin"` // of so many people this is one; all counts are of the sample

	DrainS       float64        `json:"drain_s"` // until the line stands no more (see the package comment); 0: it never stood
	JobsDoneS    float64        `json:"jobs_done_s"`
	PeakJobs     map[string]int `json:"peak_jobs"`  // held at once, by lane
	PeakBytes    int64          `json:"peak_bytes"` // on disk
	PeakLevel    int            `json:"peak_level"`
	Waits        Waits          `json:"waits"`      // of people who completed
	MailWaits    Waits          `json:"mail_waits"` // of links, from the accepted request to the hand-off
	Refused      map[string]int `json:"refused"`    // calls, by reason
	SignInsPeak  float64        `json:"sign_ins_peak"`
	SignIns      int            `json:"sign_ins"`
	Jobs         int            `json:"jobs"` // enqueued
	JobsEnded    int            `json:"jobs_ended"`
	Applied      int            `json:"applied"`
	Links        int            `json:"links"`      // mails with a link handed off
	BulkMails    int            `json:"bulk_mails"` // confirmations
	Coalesced    int            `json:"coalesced"`
	Withheld     int            `json:"withheld"` // links over the budget
	MailRefusals int            `json:"mail_refusals"`
	BreakerTrips int            `json:"breaker_trips"`
	PeakApplied  float64        `json:"peak_applied_rate"`
	Events       uint64         `json:"events"`
}

// JSON is the result in the form of its contract: the same run gives the same bytes.
func (r Result) JSON() ([]byte, error) {
	b, err := json.MarshalIndent(r, "", " ")
	return append(b, '\n'), err
}

const (
	mostSamples = 600
	// Devices is how many a person signs in again after a reset.
	Devices = 3
	// rateOver is over what their peak is a mean.
	rateOver = 10 * time.Second
	// stands is when a line stands: brownout level 1.
	stands = 5 * time.Second
)

// recorder counts. A run's sums are kept in arm as it goes.
type recorder struct {
	arm                     Result
	every                   time.Duration
	waits, mails            *hdrhistogram.Histogram // ms
	owed, inFlight          int
	enqueued, endedJobs     int
	applied, coalesced      int
	withheld, mailRefusals  int
	bulkMails, trips        int
	level                   int
	oldest                  time.Duration
	last                    counts // at the last sample
	mailSum, mailCount      int64  // since then
	window                  int64  // of sign-ins, in rateOver
	inWindow, mostInWindow  int
	drained, jobsDone, ends int64 // ns
	refusals                [reasons]int
	peakBytes               int64
}

type counts struct {
	at                    int64
	sent, failed, applied int
}

func newRecorder(cfg Config) recorder {
	return recorder{
		arm:   Result{Name: cfg.Arm, Scenario: cfg.Scenario.Name, Seed: cfg.Seed, Thin: cfg.Window.Thin},
		every: (cfg.Until/mostSamples/lookEvery + 1) * lookEvery,
		waits: hdrhistogram.New(1, longest.Milliseconds(), 3), mails: hdrhistogram.New(1, longest.Milliseconds(), 3),
	}
}

// The reasons of refusals, as the API names them.
const (
	reasonClient = iota
	reasonGlobal
	reasonFull
	reasonExpired
	reasonShed2
	reasonShed3
	reasonShed4
	reasons
)

// Reasons are all that a call can be refused for, in a fixed order.
func Reasons() []string { names := reasonNames(); return names[:] }

func reasonNames() [reasons]string {
	return [...]string{"LIMIT_CLIENT", "LIMIT_GLOBAL", "QUEUE_FULL", "TOKEN_EXPIRED", "SHED_LEVEL_2", "SHED_LEVEL_3", "SHED_LEVEL_4"}
}

func (r *recorder) refused(e *reset.Error) {
	switch e.Kind {
	case reset.KindLimitClient:
		r.refusals[reasonClient]++
	case reset.KindLimitGlobal:
		r.refusals[reasonGlobal]++
	case reset.KindQueueFull:
		r.refusals[reasonFull]++
	case reset.KindTokenExpired:
		r.refusals[reasonExpired]++
	case reset.KindShed:
		r.refusals[reasonShed2+e.Level-2]++
	default:
		panic(fmt.Sprintf("simulate: a refusal of kind %v", e.Kind))
	}
}

func (r *recorder) sent(attacker bool) {
	r.arm.OfferedCalls++
	if !attacker {
		r.arm.PeopleCalls++
	}
}

func (r *recorder) failed(attacker bool) {
	if attacker {
		r.arm.AttackerFails++
	} else {
		r.arm.FailedCalls++
	}
}

func (r *recorder) owe(before, now bool) {
	if before != now {
		if now {
			r.owed++
		} else {
			r.owed--
		}
		r.peak()
	}
}

// flying counts calls whose answers are still out.
func (r *recorder) flying(n int) {
	r.inFlight += n
	r.peak()
}

func (r *recorder) peak() { r.arm.PeakBacklog = max(r.arm.PeakBacklog, r.owed+r.inFlight) }

func (r *recorder) mailed(wait uint32) {
	_ = r.mails.RecordValue(int64(wait)) // within a month, as all times are
	r.mailSum += int64(wait)
	r.mailCount++
	r.arm.Links++
}

func (r *recorder) ended(o people.Outcome, attacker bool, now int64) {
	if attacker {
		return
	}
	r.ends = max(r.ends, now)
	r.count(o)
	if !o.Completed {
		return
	}
	_ = r.waits.RecordValue(o.Wait.Milliseconds()) // as above
	if w := now / int64(rateOver); w != r.window {
		r.window, r.inWindow = w, 0
	}
	r.inWindow += Devices
	r.mostInWindow = max(r.mostInWindow, r.inWindow)
}

func (r *recorder) count(o people.Outcome) {
	add := func(n *int, yes bool) {
		if yes {
			*n++
		}
	}
	add(&r.arm.Accepted, o.Accepted)
	add(&r.arm.Promised, o.Promised)
	add(&r.arm.Completed, o.Completed)
	add(&r.arm.GaveUp, o.GaveUp)
}

// looked is a look of the ladder's.
func (r *recorder) looked(s *Simulation, oldest time.Duration, level int) {
	r.oldest, r.level = oldest, level
	r.arm.PeakLevel = max(r.arm.PeakLevel, level)
	if oldest > stands {
		r.drained = s.now
	}
	if s.gateway.held() > 0 {
		r.jobsDone = s.now
	}
}

// sample takes one.
func (s *Simulation) sample() {
	r := &s.result
	passed := time.Duration(s.now - r.last.at).Seconds()
	now := counts{s.now, r.arm.OfferedCalls, r.arm.FailedCalls, r.applied}
	limits := s.down[downStore].pacer.Limits()
	p := Sample{
		Seconds: time.Duration(s.now).Seconds(), Came: r.arm.People, Completed: r.arm.Completed, GaveUp: r.arm.GaveUp,
		Backlog: r.owed + r.inFlight, Inside: int64(s.store.Items), Up: s.now >= s.store.Down,
		Cold: s.now >= s.store.Down && s.store.Down > 0 && s.now < s.store.Down+int64(s.cfg.Store.ColdFor), Crashes: r.arm.StoreCrashes,
		Level: r.level, Jobs: map[string]int{}, Bytes: s.gateway.disk, OldMS: r.oldest.Milliseconds(),
		Calls: limits.Concurrency, Batch: limits.Batch,
	}
	if passed > 0 {
		p.OfferedRate = float64(now.sent-r.last.sent) / passed
		p.FailedRate = float64(now.failed-r.last.failed) / passed
		p.AppliedRate = float64(now.applied-r.last.applied) / passed
		r.arm.PeakApplied = max(r.arm.PeakApplied, p.AppliedRate)
	}
	for _, l := range s.lanes {
		if l != nil {
			p.Jobs[l.name.String()] = l.held()
		}
	}
	if r.mailCount > 0 {
		p.MailMS = r.mailSum / r.mailCount
	}
	r.last, r.mailSum, r.mailCount = now, 0, 0
	r.arm.Samples = append(r.arm.Samples, p)
	if s.deps.Progress != nil {
		s.deps.Progress(Progress{
			At: time.Duration(s.now), Of: s.cfg.Window.Length, Events: s.events, Came: r.arm.People,
			Waiting: r.arm.People - r.arm.Completed - r.arm.GaveUp,
		})
	}
}

// sumUp is the result once the run has ended.
func (s *Simulation) sumUp() Result {
	r := &s.result
	for i := range s.crowd.Used() {
		if p := s.crowd.At(i); p.refs > 0 && !p.is(gone) && !p.Attacker() {
			r.count(p.Outcome(time.Duration(s.now)))
		}
	}
	a := r.arm
	a.StillWaiting = a.People - a.Completed - a.GaveUp
	a.Waits, a.MailWaits = quantiles(r.waits), quantiles(r.mails)
	a.WaitP50MS, a.WaitP99MS = a.Waits.P50, a.Waits.P99
	a.EverybodyP50MS, a.EverybodyP99MS = r.everybody(50), r.everybody(99)
	a.EverybodyP999MS = r.everybody(99.9)
	a.Seconds, a.DrainS, a.JobsDoneS = time.Duration(r.ends).Seconds(), time.Duration(r.drained).Seconds(), time.Duration(r.jobsDone).Seconds()
	if a.StillWaiting > 0 {
		a.Seconds = time.Duration(s.now).Seconds()
	}
	a.PeakJobs, a.Refused = map[string]int{}, map[string]int{}
	for _, l := range s.lanes {
		if l != nil {
			a.PeakJobs[l.name.String()] = l.peak
		}
	}
	for i, name := range reasonNames() {
		if r.refusals[i] > 0 {
			a.Refused[name] = r.refusals[i]
		}
	}
	a.PeakBytes, a.SignInsPeak = r.peakBytes, float64(r.mostInWindow)/rateOver.Seconds()
	a.SignIns = Devices * a.Completed
	a.Jobs, a.JobsEnded, a.Applied, a.BulkMails = r.enqueued, r.endedJobs, r.applied, r.bulkMails
	a.Coalesced, a.Withheld, a.MailRefusals, a.BreakerTrips = r.coalesced, r.withheld, r.mailRefusals, r.trips
	a.Events = s.events
	return a
}

func quantiles(h *hdrhistogram.Histogram) Waits {
	return Waits{h.ValueAtQuantile(50), h.ValueAtQuantile(90), h.ValueAtQuantile(99), h.ValueAtQuantile(99.9), h.Max()}
}

// everybody is a percentile of all who came, in ms; −1 when it falls among those who never got there.
func (r *recorder) everybody(percent float64) int64 {
	came, done := float64(r.arm.People), float64(r.arm.Completed)
	if done == 0 || done < came*percent/100 {
		return -1
	}
	return r.waits.ValueAtQuantile(percent * came / done)
}

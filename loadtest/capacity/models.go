package capacity

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/surgegate/surgegate/loadtest/report"
	"github.com/surgegate/surgegate/loadtest/schedule"
	"github.com/surgegate/surgegate/loadtest/victim"
)

// storeModel is a store and what happens to it.
type storeModel struct {
	name, about string
	of          string // the preset's name, if it is another
	store       victim.Config
	events      []event
	outage      bool // an event takes the store away: what is judged is how it comes back
	steady      bool // no event: ETAs are judged
}

// event happens to a store once it has been found out.
type event struct {
	at    time.Duration
	step  *victim.Step
	crash bool
}

// The windows of a model's run; see doc.go.
const (
	foundOut  = 25 * time.Second
	lastCall  = 65 * time.Second
	judged    = 80 * time.Second
	runLength = 88 * time.Second
	// referenceTime is long enough for about 480 passwords of variation 0.5: 2 % of standard error.
	referenceTime = 10 * time.Second
	pressure      = 1.3
	burst         = 3 * time.Second
	// lineLag bounds how late the load may be made, as in the demo: the lines that it makes are seconds long.
	lineLag = 250 * time.Millisecond
)

// models are presets and what happens to them. Their look-ups find nobody: what is judged is completions.
func models() []storeModel {
	second := time.Second
	normal := &victim.Step{Speed: 1, Workers: 1}
	all := []storeModel{
		{name: "workers", steady: true},
		{name: "contention", steady: true},
		{name: "fragile"},
		{name: "stall", of: "knee-12", about: "stands still from 25 to 55 s, then half speed for 20 s", outage: true,
			events: []event{{at: foundOut, step: &victim.Step{Workers: 1}}, {at: 55 * second, step: &victim.Step{Speed: 1, Workers: 1, ColdFor: 20 * second}}}},
		{name: "crash", of: "knee-12", about: "its process dies at 25 s, is back after 5 s, half speed for 10 s", outage: true,
			events: []event{{at: foundOut, crash: true}}},
		{name: "halved", of: "knee-12", about: "half of everything from 30 to 60 s",
			events: []event{{at: 30 * second, step: &victim.Step{Speed: 1, Workers: .5}}, {at: 60 * second, step: normal}}},
		{name: "latency", of: "workers", about: "answers 480 ms later from 30 to 60 s, capacity as before",
			events: []event{{at: 30 * second, step: &victim.Step{Speed: 1, Workers: 1, Latency: 480 * time.Millisecond}}, {at: 60 * second, step: normal}}},
		{name: "noise", steady: true},
		{name: "batch", steady: true},
	}
	presets := map[string]victim.Preset{}
	for _, p := range victim.Presets() {
		presets[p.Name] = p
	}
	for i := range all {
		m := &all[i]
		p := presets[cmp.Or(m.of, m.name)]
		m.store, m.store.Mute = p.Store, true
		if m.about = p.About + "; " + m.about; m.of == "" {
			m.about = p.About
		}
	}
	return all
}

// Result of a model's run.
type Result struct {
	Name       string  `json:"name"`
	About      string  `json:"about"`
	Reference  float64 `json:"best_per_s"`
	Knee       float64 `json:"knee"`
	Goodput    float64 `json:"goodput"`         // ÷ best, from foundOut on, outages out
	FindingOut float64 `json:"goodput_finding"` // the same before
	Holding    float64 `json:"inside_over_knee"`
	Peak       float64 `json:"peak_over_knee"` // while finding out
	Deaths     int     `json:"deaths"`
	LateDeaths int     `json:"deaths_after_first_minute"`
	Recovery   float64 `json:"recovery_s,omitempty"` // −1: never
	Reopens    float64 `json:"breaker_reopens,omitempty"`
	Waits      waits   `json:"waits"`
	Refused    int     `json:"calls_refused"`
	LagP99     float64 `json:"generator_lag_p99_ms"`
	Points     []Point `json:"points"`
}

// models runs all at once: their stores work on timers, and what is left fits the machine.
func (s *suite) models(ctx context.Context) ([]report.Figure, error) {
	var (
		mu   sync.Mutex
		errs []error
		list = s.chosen()
		all  = make([]*Result, len(list))
		work sync.WaitGroup
	)
	for i, m := range list {
		work.Go(func() {
			r, err := s.model(ctx, m)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", m.name, err))
				return
			}
			all[i] = r
		})
	}
	work.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for _, r := range all {
		s.results = append(s.results, *r)
		fmt.Fprintf(s.Output, "  %-12s best %.0f/s  goodput %.3f (finding out %.3f)  inside ÷ knee %.2f, peak %.2f  deaths %d, late %d  recovery %.1f s\n",
			r.Name, r.Reference, r.Goodput, r.FindingOut, r.Holding, r.Peak, r.Deaths, r.LateDeaths, r.Recovery)
	}
	rows := judgeModels(list, all)
	for _, r := range all {
		if late := time.Duration(r.LagP99 * 1e6); late > lineLag {
			return invalid(rows, late), nil
		}
	}
	return rows, nil
}

func (s *suite) chosen() (list []storeModel) {
	for _, m := range models() {
		if len(s.Models) == 0 || slices.Contains(s.Models, m.name) {
			list = append(list, m)
		}
	}
	return list
}

func (s *suite) model(ctx context.Context, m storeModel) (*Result, error) {
	dir := filepath.Join(s.dir, m.name)
	m.store.Seed = s.Seed
	st, err := startStore(ctx, s.Options, filepath.Join(dir, "store"), m.store)
	if err != nil {
		return nil, err
	}
	first := st
	defer func() { _ = first.stop() }()
	reference, err := st.reference(ctx, time.Second, referenceTime)
	if err != nil {
		return nil, err
	}
	// The reference's own peak and look-ups are another process's: the run begins with a fresh store that is warm.
	if err := st.stop(); err != nil {
		return nil, err
	}
	if st, err = startStore(ctx, s.Options, filepath.Join(dir, "store"), m.store); err != nil {
		return nil, err
	}
	defer func() { _ = st.stop() }()
	g, err := startGateway(ctx, s.Options, filepath.Join(dir, "gateway"), fmt.Sprintf("{grpc: {address: %q, insecure: true}, headroom: 0}", st.cfg.Address), "")
	if err != nil {
		return nil, err
	}
	defer g.stop()
	c := newCaller(s.Options, g)
	items, err := arrivals([]phase{
		{until: 500 * time.Millisecond, completions: reference * burst.Seconds() * 2},
		{from: 500 * time.Millisecond, until: lastCall, completions: reference * pressure},
	}, 0, func(first uint64, n int) ([]string, error) { return g.tokens(s.Options, first, n) })
	if err != nil {
		return nil, err
	}
	begin := s.Clock.Now().Add(time.Second)
	w := startWatch(ctx, &watch{store: st, gateway: g, reference: reference, begin: begin})
	run, cancel := context.WithDeadline(ctx, begin.Add(runLength))
	defer cancel()
	var happening sync.WaitGroup
	defer happening.Wait()
	happening.Go(func() { happen(run, st, begin, m.events) })
	sent, err := schedule.RunItems(run, schedule.ItemsConfig{Start: begin, MaxLag: lineLag}, schedule.ItemsDeps{Clock: s.Clock}, items, c.person)
	if err != nil {
		return nil, err
	}
	for {
		p := w.now()
		// Nothing is left to do: the rest of the window would say nothing.
		if p.At >= judged.Seconds() && p.Done == 0 || s.Clock.Sleep(run, lookEvery) != nil {
			break
		}
	}
	end := s.Clock.Now()
	r := &Result{
		Name: m.name, About: m.about, Reference: reference, Knee: m.store.Best(), Points: w.stop(),
		Refused: c.tally(1, completions).refused, LagP99: float64(sent.LagP99) / float64(time.Millisecond),
	}
	r.judge(m)
	applied, err := victim.AppliedAt(st.cfg.Ledger)
	if err != nil {
		return nil, err
	}
	r.Waits.judge(c.promises(), applied, end, func(int) bool { return true })
	return r, st.stop()
}

// happen makes the events come.
func happen(ctx context.Context, st *store, begin time.Time, events []event) {
	for _, e := range events {
		if st.clock.Sleep(ctx, begin.Add(e.at).Sub(st.clock.Now())) != nil {
			return
		}
		if e.crash {
			st.crash()
		} else if err := st.post("/step", e.step); err != nil {
			return // the process is down: the model has another step for its recovery, or none
		}
	}
}

// judge takes the figures from the points.
func (r *Result) judge(m storeModel) {
	from, until := foundOut.Seconds(), judged.Seconds()
	r.FindingOut = goodput(r.Points, 0, from)
	r.Goodput = goodput(r.Points, from, until)
	r.Holding = held(r.Points, from, until) / r.Knee
	peak := highest(r.Points, from)
	if m.store.MaxCalls > 0 && at(r.Points, from).deaths > 0 {
		peak = max(peak, m.store.MaxCalls+1) // no look saw it, but it died of it
	}
	r.Peak = float64(peak) / r.Knee
	last := r.Points[len(r.Points)-1]
	r.Deaths, r.LateDeaths = last.deaths, last.deaths-at(r.Points, 60).deaths
	if !m.outage {
		return
	}
	trigger := m.events[len(m.events)-1]
	before := at(r.Points, trigger.at.Seconds()).deaths
	back := trigger.at.Seconds()
	for _, p := range r.Points {
		// After a crash it is the next process that is back.
		if p.At > back && p.Up && p.Best > 0 && (!trigger.crash || p.deaths > before) {
			back = p.At
			break
		}
	}
	if trigger.crash {
		r.Deaths--
	}
	r.Recovery = recovery(r.Points, back)
	r.Goodput = 0 // of an outage how it comes back is judged
	if r.Recovery >= 0 {
		r.Goodput = goodput(r.Points, back+r.Recovery, until)
		r.Reopens = last.Opens - at(r.Points, back+r.Recovery).Opens
	}
	r.Holding = held(r.Points, back+max(0, r.Recovery), until) / r.Knee
}

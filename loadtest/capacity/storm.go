package capacity

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/surgegate/surgegate/loadtest/report"
	"github.com/surgegate/surgegate/loadtest/schedule"
	"github.com/surgegate/surgegate/loadtest/victim"
	credstorev1 "github.com/surgegate/surgegate/proto/surgegate/credstore/v1"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// The phases of the storm.
const (
	phaseFlood = iota // starts only, until their line is as long as it may be
	phaseServed
	phase10
	phase50
	phase100
)

// maxLag of the storm's generator is wide, because it shares two processors with the gateway and the store.
const maxLag = 100 * time.Millisecond

// settle is how long into a phase its figures begin.
const settle = 3 * time.Second

// storm is one storm that grows. A look-up costs the store half of a password, so that starts are a load too: with an
// acceptance bound of a minute for them they are shed once the line is that long, while completions are served.
func (s *suite) storm(ctx context.Context) ([]report.Figure, error) {
	cfg := victim.Config{
		Knee: 10, Sigma: .03, HashTime: 100 * time.Millisecond, LookupTime: 50 * time.Millisecond, Spread: .5,
		MaxSetBatch: 1, MaxLookup: 1, Mute: true, Seed: s.Seed,
	}
	dir := filepath.Join(s.dir, "storm")
	st, err := startStore(ctx, s.Options, filepath.Join(dir, "store"), cfg)
	if err != nil {
		return nil, err
	}
	defer func() { _ = st.stop() }()
	best, err := st.reference(ctx, time.Second, referenceTime)
	if err != nil {
		return nil, err
	}
	g, err := startGateway(ctx, s.Options, filepath.Join(dir, "gateway"),
		fmt.Sprintf("{grpc: {address: %q, insecure: true}, headroom: 0}", st.cfg.Address), "queue: {max_start_wait: 1m}\n")
	if err != nil {
		return nil, err
	}
	defer g.stop()
	second := time.Second
	phases := []phase{
		phaseFlood:  {from: 0, until: 8 * second, starts: 10 * best, completions: best / 2},
		phaseServed: {from: 8 * second, until: 20 * second, starts: 9.5 * best, completions: best / 2},
		phase10:     {from: 20 * second, until: 34 * second, starts: 7 * best, completions: 3 * best},
		phase50:     {from: 34 * second, until: 48 * second, starts: 47 * best, completions: 3 * best},
		phase100:    {from: 48 * second, until: 62 * second, starts: 97 * best, completions: 3 * best},
	}
	c := newCaller(s.Options, g)
	items, err := arrivals(phases, 0, func(first uint64, n int) ([]string, error) { return g.tokens(s.Options, first, n) })
	if err != nil {
		return nil, err
	}
	begin := s.Clock.Now().Add(time.Second)
	c.begin, c.phases = begin, phases
	w := startWatch(ctx, &watch{store: st, gateway: g, reference: best, begin: begin})
	run, cancel := context.WithDeadline(ctx, begin.Add(phases[phase100].until))
	defer cancel()
	sent, err := schedule.RunItems(run, schedule.ItemsConfig{Start: begin, MaxLag: maxLag}, schedule.ItemsDeps{Clock: s.Clock}, items, c.person)
	if err != nil {
		return nil, err
	}
	points := w.stop()
	applied, err := victim.AppliedAt(st.cfg.Ledger)
	if err != nil {
		return nil, err
	}
	s.results = append(s.results, Result{
		Name: "storm", About: "USL, knee 10; 10x, then 50x from 34 s and 100x from 48 s", Reference: best,
		Knee: cfg.Best(), Points: points, LagP99: float64(sent.LagP99) / float64(time.Millisecond),
	})
	return s.judgeStorm(c, points, phases, applied, best, sent), nil
}

func (s *suite) judgeStorm(c *caller, points []Point, phases []phase, applied map[string]time.Time, best float64, sent schedule.ItemsReport) (rows []report.Figure) {
	// Each phase is judged by how well its own load was made.
	add := func(phase int, list ...report.Figure) {
		if late := c.late(phase); late > maxLag {
			list = invalid(list, late)
		}
		rows = append(rows, list...)
	}
	for _, level := range []struct {
		name  string
		phase int
		goal  float64
	}{{"10x", phase10, .95}, {"50x", phase50, .93}, {"100x", phase100, .90}} {
		p := phases[level.phase]
		row := least("through surgegate, goodput ÷ best at "+level.name+" offered load with retrying clients",
			goodput(points, (p.from+settle).Seconds(), p.until.Seconds()), level.goal)
		row.Reference = best
		add(level.phase, row)
	}
	served, done := 0, 0
	for n, t := range c.promises() {
		if t.phase == phaseServed {
			served++
			if _, ok := applied[victim.AccountID(n)]; ok {
				done++
			}
		}
	}
	completed, started := c.tally(phaseServed, completions), c.tally(phaseServed, starts)
	shed := 1 - float64(started.accepted)/float64(max(1, started.offered))
	row := least("completions accepted and applied at 10x while the rest is shed", float64(done)/float64(max(1, completed.offered)), .999)
	row.Goal += ", at least 80 % of starts shed"
	row.OK = row.OK && shed >= .8
	refused := append(append([]float64(nil), started.refuse...), c.tally(phase10, starts).refuse...)
	latency := most("refusal latency at 10x, p99", quantile(refused, .99), "ms", 5)
	latency.OK = latency.OK && len(refused) > 0
	add(phaseServed, row, report.Figure{Name: "starts shed meanwhile", Value: shed, Unit: "ratio", Goal: "≥ 0.8", OK: shed >= .8}, latency)
	for number, name := range []string{"flood", "served", "10x", "50x", "100x"} {
		a, b := c.tally(number, starts), c.tally(number, completions)
		refuse := append(append([]float64(nil), a.refuse...), b.refuse...)
		fmt.Fprintf(s.Output, "  %-7s starts %d (accepted %d; calls refused %d, failed %d), completions %d (%d; %d, %d), refusal p50 %.1f p99 %.1f ms, level %.0f, made %v late at p99\n", name,
			a.offered, a.accepted, a.refused, a.failed, b.offered, b.accepted, b.refused, b.failed,
			report.Median(refuse), quantile(refuse, .99), at(points, phases[number].until.Seconds()).Level, c.late(number).Round(time.Millisecond))
	}
	if c.failure != nil {
		fmt.Fprintf(s.Output, "  the last call that failed otherwise: %v\n", c.failure)
	}
	fmt.Fprintf(s.Output, "  %d of %d completions of 'served' applied; %v\n", done, served, sent.LagP99)
	return rows
}

// answers measures the accept path unloaded and at ten times what the hash pool can hash. The store takes hashes and
// knows none of the accounts: what is measured ends before it is asked.
func (s *suite) answers(ctx context.Context) ([]report.Figure, error) {
	g, err := startGateway(ctx, s.Options, filepath.Join(s.dir, "answers"), "{sqlite: {sample: true}}", "")
	if err != nil {
		return nil, err
	}
	defer g.stop()
	// About 47 hashes/s of a core is what argon2id at 19 MiB, t=2 gives; the pool has all cores but one, at least one.
	const hashes = 50.0
	second := time.Second
	phases := []phase{
		{until: 2 * second, starts: 40, completions: 10}, // connections are made, code is warm
		{from: 2 * second, until: 10 * second, starts: 75, completions: hashes / 10},
		{from: 10 * second, until: 11 * second, starts: 8 * hashes, completions: 2 * hashes},
		{from: 11 * second, until: 20 * second, starts: 8 * hashes, completions: 2 * hashes},
	}
	c := newCaller(s.Options, g)
	items, err := arrivals(phases, 0, func(first uint64, n int) ([]string, error) { return g.tokens(s.Options, first, n) })
	if err != nil {
		return nil, err
	}
	begin := s.Clock.Now().Add(500 * time.Millisecond)
	c.begin, c.phases = begin, phases
	run, cancel := context.WithDeadline(ctx, begin.Add(phases[3].until+second))
	defer cancel()
	if _, err := schedule.RunItems(run, schedule.ItemsConfig{Start: begin}, schedule.ItemsDeps{Clock: s.Clock}, items, c.person); err != nil {
		return nil, err
	}
	accepts := func(phase int) []float64 {
		return append(append([]float64(nil), c.tally(phase, starts).accept...), c.tally(phase, completions).accept...)
	}
	calm, storm := accepts(1), accepts(3)
	if len(calm) == 0 || len(storm) == 0 {
		return nil, fmt.Errorf("nothing was accepted: %w", c.failure)
	}
	reference, value := quantile(calm, .99), quantile(storm, .99)
	fmt.Fprintf(s.Output, "  accept path: unloaded p50 %.2f p99 %.2f ms (%d), at 10x p50 %.2f p99 %.2f ms (%d)\n",
		report.Median(calm), reference, len(calm), report.Median(storm), value, len(storm))
	return []report.Figure{{
		Name: "accept path at 10x, hash pool busy, p99", Value: value, Unit: "ms", Reference: reference, Ratio: value / reference,
		Goal: "ratio ≤ 2 of unloaded", OK: value <= 2*reference,
	}}, nil
}

// quiet compares completions that wait for their end with the same change straight at the store, one at a time.
func (s *suite) quiet(ctx context.Context) ([]report.Figure, error) {
	const pairs = 250
	dir := filepath.Join(s.dir, "quiet")
	st, err := startStore(ctx, s.Options, filepath.Join(dir, "store"), victim.Config{Workers: 8, HashTime: 5 * time.Millisecond, Seed: s.Seed})
	if err != nil {
		return nil, err
	}
	defer func() { _ = st.stop() }()
	g, err := startGateway(ctx, s.Options, filepath.Join(dir, "gateway"), fmt.Sprintf("{grpc: {address: %q, insecure: true}}", st.cfg.Address), "")
	if err != nil {
		return nil, err
	}
	defer g.stop()
	conn, err := dial(st.cfg.Address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	direct := credstorev1.NewCredentialStoreClient(conn)
	tokens, err := g.tokens(s.Options, 0, pairs)
	if err != nil {
		return nil, err
	}
	var straight, through []float64
	shed := 0
	for i, tok := range tokens {
		begin := s.Clock.Now()
		if err := st.set(ctx, direct, 1); err != nil {
			return nil, err
		}
		middle := s.Clock.Now()
		r, err := g.clients[0].CompleteReset(ctx, &resetv1.CompleteResetRequest{
			Token: tok, NewPassword: password, Client: &resetv1.Client{Ip: fmt.Sprintf("10.0.%d.%d", i>>8, i&255)}, Wait: durationpb.New(10 * time.Second),
		})
		end := s.Clock.Now()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil || r.GetTicket().GetState() != resetv1.State_STATE_DONE {
			shed++
			continue
		}
		straight = append(straight, float64(middle.Sub(begin))/1e6)
		through = append(through, float64(end.Sub(middle))/1e6)
	}
	added := report.Median(through) - report.Median(straight)
	row := most("quiet day: latency that surgegate adds to the store's, p50", added, "ms", 1)
	row.Reference = report.Median(straight)
	return []report.Figure{row, most("quiet day: calls shed or not done at once", float64(shed), "calls", 0)}, nil
}

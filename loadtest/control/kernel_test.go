package control

import (
	"math"
	"reflect"
	"slices"
	"testing"

	"github.com/surgegate/surgegate/pkg/pace"
)

func fixed(t testing.TB, concurrency, batch int) pace.Pacer {
	t.Helper()
	p, err := pace.NewFixed(pace.Config{Concurrency: concurrency, Batch: batch, RampInitial: 1})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func newChart(t testing.TB, m Model) pace.Pacer {
	t.Helper()
	p, err := pace.NewChart(pace.ChartConfig{Batch: max(1, m.MaxBatch)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// shapes are all of them; under the race detector, which takes ten times as long and has nothing to find in a run of one
// goroutine, those that use each part of the store.
func shapes() []Shape {
	var some []Shape
	for _, s := range Shapes() {
		if !underRace || slices.Contains([]string{"heavy-tail", "stall", "crash-1.5", "noise"}, s.Name) {
			some = append(some, s)
		}
	}
	return some
}

// delivered is the mean of items a second from one time to another.
func delivered(r Result, from, to float64) float64 {
	sum := 0.0
	for _, p := range r.Trace {
		if p.At > from && p.At <= to {
			sum += p.Done
		}
	}
	return sum / (to - from)
}

// A store with N calls inside all the time delivers μ(N), in each of the models. The formulas are written out here once
// more, from the literature and not from the code.
func TestStoresDeliverTheirFormula(t *testing.T) {
	t.Parallel()
	workers := Model{Service: .01, Knee: 12}
	contention := Model{Service: .01, Knee: 20, USL: true, Sigma: .04}
	kappa := (1 - .04) / (20. * 20)
	usl := func(n float64) float64 { return 100 * n / (1 + .04*(n-1) + kappa*n*(n-1)) }
	heavy, batch := workers, workers
	heavy.Heavy = true
	batch.Fixed, batch.MaxBatch = .8, 16
	with := func(m Model, s Step) Model { m.Steps = []Step{s}; return m }
	for name, tc := range map[string]struct {
		m     Model
		n     int
		batch int
		want  float64 // items/s
	}{
		"one worker's worth":      {workers, 1, 1, 100},
		"half of the workers":     {workers, 6, 1, 600},
		"all workers":             {workers, 12, 1, 1200},
		"twice the workers":       {workers, 24, 1, 1200},
		"heavy tail":              {heavy, 12, 1, 1200},
		"usl, one":                {contention, 1, 1, 100},
		"usl, half the knee":      {contention, 10, 1, usl(10)},
		"usl, the knee":           {contention, 20, 1, usl(20)},
		"usl, three times":        {contention, 60, 1, usl(60)},
		"calls of 16":             {batch, 12, 16, 1200 * 16 / (.8 + .2*16)},
		"calls of 4":              {batch, 3, 4, 300 * 4 / (.8 + .2*4)},
		"half the workers":        {with(workers, Step{Speed: 1, Workers: .5, Latency: 1}), 12, 1, 600},
		"half the speed":          {with(contention, Step{Speed: .5, Workers: 1, Latency: 1}), 20, 1, usl(20) / 2},
		"half the knee":           {with(contention, Step{Speed: 1, Workers: .5, Latency: 1}), 10, 1, usl(20) / 2},
		"latency x5, five times":  {with(workers, Step{Speed: 1, Workers: 1, Latency: 5}), 60, 1, 1200},
		"latency x5, as before":   {with(workers, Step{Speed: 1, Workers: 1, Latency: 5}), 12, 1, 240},
		"noise takes its share":   {Model{Service: .01, Knee: 12, Noise: .1}, 12, 1, 1080},
		"best point of the batch": {batch, 12, 16, batch.Best()},
		"best point of usl":       {contention, 20, 1, contention.Best()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := tc.m
			m.WarmUp, m.Length = 2, 22
			r := Run(m, fixed(t, tc.n, tc.batch), 1)
			got := delivered(r, m.WarmUp, m.Length)
			// Four standard errors of the mean work of so many calls; a lognormal's cv is 2.
			cv := 1.0
			if m.Heavy {
				cv = 2
			}
			calls := tc.want * 20 / float64(tc.batch)
			if bound := 4 * cv / math.Sqrt(calls); math.Abs(got/tc.want-1) > bound {
				t.Errorf("%.1f items/s with %d inside, want %.1f ± %.1f %%", got, tc.n, tc.want, 100*bound)
			}
		})
	}
}

func TestCreepHalvesTheSpeed(t *testing.T) {
	t.Parallel()
	m := Model{Service: .02, Knee: 6, Creep: -math.Ln2 / 60, Length: 64}
	r := Run(m, fixed(t, 12, 1), 1)
	begin, end := delivered(r, 0, 4), delivered(r, 60, 64)
	if ratio := end / begin; ratio < .45 || ratio > .55 {
		t.Errorf("%.0f items/s, then %.0f after its half-life", begin, end)
	}
}

// A call that nobody waits for any more keeps its place inside and is not counted when it is done.
func TestAbandonedWorkStaysInside(t *testing.T) {
	t.Parallel()
	m := Model{
		Service: .1, Knee: 4, Length: 60,
		Steps: []Step{{At: 10, Speed: 0, Workers: 1, Latency: 1}, {At: 30, Speed: 1, Workers: 1, Latency: 1}},
	}
	const calls = 12
	r := Run(m, fixed(t, calls, 1), 1)
	second := func(at float64) Point { return r.Trace[int(at)-1] }
	if in := second(13).Inside; in != calls {
		t.Fatalf("%v inside before any deadline, want %d", in, calls)
	}
	// The dozen's permits are free after 5 s and others take their places until ten have failed; then the breaker lets one
	// probe out at a time, 5 s each.
	for at := 16.0; at <= 30; at++ {
		p := second(at)
		if p.Inside < calls || p.Inside > calls+10+15/deadline {
			t.Errorf("%v inside at %v s: the abandoned ones and a few probes were due", p.Inside, at)
		}
		if p.Done != 0 {
			t.Errorf("a stalled store delivered %v at %v s", p.Done, at)
		}
	}
	if second(30).Inside == second(16).Inside {
		t.Error("no probe went out during the stall")
	}
	// The buried work is done first, shared: nothing of it counts. At half speed after a stall 4 workers do 20 a second.
	if r.Calls == calls || second(60).Done == 0 {
		t.Error("it never came back")
	}
	if got := delivered(r, 40, 60); math.Abs(got/20-1) > .3 {
		t.Errorf("%.1f items/s when cold, want 20", got)
	}
}

func TestACrashEmptiesTheStoreAndRestarts(t *testing.T) {
	t.Parallel()
	m := Model{Service: .05, Knee: 8, Crash: 1.5, Restart: 10, Length: 60}
	r := Run(m, fixed(t, 13, 1), 1) // one more than it bears
	if r.Crashes != 6 {
		t.Errorf("%d crashes: it dies as soon as it is up, after 10 s each and a probe's wait", r.Crashes)
	}
	m.Crash = 2
	r = Run(m, fixed(t, 13, 1), 1)
	if r.Crashes != 0 || r.Peak != 13./8 {
		t.Errorf("%d crashes under the bound, peak %v", r.Crashes, r.Peak)
	}
}

func TestDownTimeCountsAgainstWhoCausedIt(t *testing.T) {
	t.Parallel()
	m := Model{Service: .05, Knee: 8, Crash: 1.5, Restart: 10, Length: 9}
	r := Run(m, fixed(t, 13, 1), 1)
	if r.Goodput > .01 || r.Trace[4].Best != 160 {
		t.Errorf("goodput %.2f of %v/s while it was down", r.Goodput, r.Trace[4].Best)
	}
	for _, p := range r.Trace {
		if p.Inside != 0 {
			t.Errorf("%v inside a dead store", p.Inside)
		}
	}
}

func TestTheSameSeedIsTheSameRun(t *testing.T) {
	t.Parallel()
	for _, shape := range shapes() {
		t.Run(shape.Name, func(t *testing.T) {
			t.Parallel()
			m := shape.Make(Draw{Seed: 3, Slow: true, MostCalls: 1500})
			a, b, c := Run(m, newChart(t, m), 3), Run(m, newChart(t, m), 3), Run(m, newChart(t, m), 4)
			if !reflect.DeepEqual(a, b) {
				t.Error("two runs of one seed differ")
			}
			if reflect.DeepEqual(a, c) {
				t.Error("another seed made the same run")
			}
		})
	}
}

func TestRecovery(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		done []float64 // a second from 0 s on; the best is 1000
		from float64
		to   float64
		want float64
	}{
		"never left":                     {[]float64{1000, 1000, 950, 1000, 1000}, 1, 5, 0},
		"two bad seconds":                {[]float64{1000, 300, 300, 990, 990, 990}, 1, 6, 2},
		"within the three together":      {[]float64{1000, 300, 1000, 1000, 1000, 1000}, 1, 6, 1},
		"two good ones do not do":        {[]float64{0, 0, 1000, 1000, 0, 0, 0}, 0, 7, 7},
		"one standard error is allowed":  {[]float64{882, 882, 882}, 0, 3, 0},
		"and no more than that":          {[]float64{880, 880, 880}, 0, 3, 3},
		"what is after the next step":    {[]float64{0, 0, 0, 1000, 1000, 1000}, 0, 4, 4},
		"what was before the step is no": {[]float64{1000, 1000, 0, 0, 0, 0}, 2, 6, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var trace []Point
			for i, done := range tc.done {
				trace = append(trace, Point{At: float64(i + 1), Done: done, Best: 1000})
			}
			if got := recovery(trace, tc.from, tc.to); got != tc.want {
				t.Errorf("%v s, want %v", got, tc.want)
			}
		})
	}
}

func TestResultOfAHandMadeRun(t *testing.T) {
	t.Parallel()
	m := Model{Service: 1, Knee: 10, WarmUp: 20, Length: 120, Steps: []Step{{At: 60}, {At: 90, Speed: 1}}}
	r := newRun(m, 1, fixed(t, 1, 1))
	r.done, r.best, r.holding, r.store.peak = 300, 400, 150, 7
	r.store.crashes = []float64{59, 61, 100}
	got := r.result()
	want := Result{Goodput: .75, Holding: 1.5, Peak: 7, Crashes: 3, Late: 2, Recovery: []float64{30}, Trace: got.Trace}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	r.peak = 3
	if got := r.result(); got.Peak != 3 {
		t.Errorf("peak %v: what came after the step counts", got.Peak)
	}
}

// What is timed is a run with the chart, the store's, the breaker's and the driver's share included.
func BenchmarkEvents(b *testing.B) {
	for name, knee := range map[string]float64{"knee-20": 20, "knee-400": 400} {
		m := Model{Service: .01, Knee: knee, Length: 1}
		for kind, p := range map[string]func() pace.Pacer{
			"fixed": func() pace.Pacer { return fixed(b, int(knee), 1) },
			"chart": func() pace.Pacer { return newChart(b, m) },
		} {
			b.Run(kind+"/"+name, func(b *testing.B) {
				r := newRun(m, 1, p())
				r.ask(r.drivers[0])
				for r.now < 20 {
					r.turn()
				}
				b.ReportAllocs()
				for b.Loop() {
					r.turn()
				}
			})
		}
	}
}

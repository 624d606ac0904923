package pace_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/surgegate/surgegate/pkg/pace"
)

func ExampleNewSteered() {
	chart, err := pace.NewChart(pace.ChartConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	pacer, now := pace.NewSteered(chart), epoch
	fmt.Println(pacer.Mode(), pacer.Limits().Concurrency)
	if err := pacer.Steer(now, pace.Override{Fixed: true, Concurrency: 2}); err != nil {
		fmt.Println(err)
		return
	}
	for pacer.Ask(now, 0, 1).Go {
	}
	fmt.Println(pacer.Mode(), pacer.Limits().InFlight)
	// Output:
	// auto 4
	// fixed 2
}

func steered(t rapid.TB, p pace.Pacer, err error) *pace.Steered {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return pace.NewSteered(p)
}

func drawPacer(t *rapid.T) (pace.Pacer, error) {
	rate := rapid.SampledFrom([]float64{0, 0, 30, 1000}).Draw(t, "configured rate")
	if rapid.Bool().Draw(t, "measuring") {
		return pace.NewChart(pace.ChartConfig{
			Min: rapid.IntRange(1, 4).Draw(t, "min"), Max: rapid.IntRange(4, 30).Draw(t, "max"), Rate: rate,
		})
	}
	return pace.NewFixed(pace.Config{Concurrency: rapid.IntRange(0, 30).Draw(t, "configured"), Rate: rate})
}

func drawOverride(t *rapid.T) pace.Override {
	rate := rapid.SampledFrom([]float64{0, 0, 5, 100, 5000}).Draw(t, "rate")
	switch rapid.IntRange(0, 3).Draw(t, "mode") {
	case 0:
		return pace.Override{}
	case 1:
		least := rapid.IntRange(0, 40).Draw(t, "least")
		most := rapid.IntRange(0, 40).Draw(t, "most")
		if most > 0 {
			least = min(least, most)
		}
		return pace.Override{Min: least, Max: most, Rate: rate}
	default:
		return pace.Override{
			Fixed: true, Concurrency: rapid.IntRange(1, 40).Draw(t, "concurrency"), Rate: rate, Batch: rapid.IntRange(0, 80).Draw(t, "batch"),
		}
	}
}

// However it is steered, asked and told: never more calls than the limit of the moment lets begin, and at the end every slot
// and every token is there again.
func TestSteeredLosesAndMakesUpNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p, err := drawPacer(t)
		s, now := steered(t, p, err), epoch
		type call struct {
			pace.Call
			granted int
		}
		var out []call
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			d := time.Duration(rapid.IntRange(0, 2000).Draw(t, "ms")) * time.Millisecond
			now = now.Add(d)
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0:
				o := drawOverride(t)
				if err := s.Steer(now, o); err != nil {
					t.Fatal(err)
				}
				if s.Override() != o {
					t.Fatalf("in force: %+v, want %+v", s.Override(), o)
				}
			case 1:
				s.Resume(now)
			case 2:
				next, err := drawPacer(t)
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Configure(now, next); err != nil {
					t.Fatal(err)
				}
			case 3:
				if len(out) == 0 {
					continue
				}
				i := rapid.IntRange(0, len(out)-1).Draw(t, "which")
				c := out[i]
				out = append(out[:i], out[i+1:]...)
				c.Items = rapid.IntRange(0, c.granted).Draw(t, "sent")
				c.Unused = c.granted - c.Items
				c.Outcome = pace.Outcome(rapid.IntRange(0, 4).Draw(t, "outcome"))
				s.Done(now, c.Call)
			default:
				items := rapid.IntRange(1, 200).Draw(t, "items")
				v := s.Ask(now, 0, items)
				l := s.Limits()
				if !v.Go {
					continue
				}
				out = append(out, call{pace.Call{Start: now, Grant: v.Grant}, v.Items})
				if l.Concurrency > 0 && l.InFlight > l.Concurrency {
					t.Fatalf("a call was let through beside %d, at a limit of %d", l.InFlight, l.Concurrency)
				}
				if v.Items > l.Batch || v.Items > items {
					t.Fatalf("%d items of %d at a batch of %d", v.Items, items, l.Batch)
				}
			}
			if n := s.Limits().InFlight; n != len(out) {
				t.Fatalf("%d calls are out, it says %d", len(out), n)
			}
		}
		for _, c := range out {
			c.Unused = c.granted
			c.Outcome = pace.OutcomeCanceled
			s.Done(now, c.Call)
		}
		// Everything is there again: so many slots, and a full bucket after a second.
		if err := s.Steer(now, pace.Override{Fixed: true, Concurrency: 7, Rate: 40, Batch: 1}); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Minute)
		for i := range 8 {
			if v := s.Ask(now, 0, 5); v.Go != (i < 4) || i >= 4 && v.RetryAt.IsZero() {
				t.Fatalf("ask %d: %+v", i, v)
			}
		}
		now = now.Add(time.Minute)
		for i := range 4 {
			if v := s.Ask(now, 0, 5); v.Go != (i < 3) || i >= 3 && !v.RetryAt.IsZero() {
				t.Fatalf("ask %d of the second minute: %+v", i, v)
			}
		}
	})
}

// tokens is a model of the bucket: what it holds, refilled and changed as it should be.
type tokens struct {
	held, rate, burst float64
	epoch             int
}

func (b *tokens) set(rate float64) {
	burst := math.Ceil(rate / 10)
	if rate > 0 && b.rate > 0 {
		b.held = math.Min(b.held, burst)
	} else {
		b.held = burst
		b.epoch++
	}
	b.rate, b.burst = rate, burst
}

func (b *tokens) add(n float64) { b.held = math.Min(b.burst, b.held+n) }

// However rates change and whatever is given back: no item passes that the bucket did not hold, and none waits that it did.
func TestSteeredHoldsItsRates(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		chart, err := pace.NewChart(pace.ChartConfig{})
		s, now := steered(t, chart, err), epoch
		type grant struct {
			pace.Call
			n, epoch int
		}
		var out []grant
		var b tokens
		const close = 1e-3 // of a token: times are whole nanoseconds
		for range rapid.IntRange(1, 8).Draw(t, "spans") {
			rate := rapid.SampledFrom([]float64{0, 20, 300, 4000}).Draw(t, "rate")
			o := pace.Override{Rate: rate}
			if rapid.Bool().Draw(t, "fixed") {
				o = pace.Override{Fixed: true, Concurrency: 50, Rate: rate}
			}
			if err := s.Steer(now, o); err != nil {
				t.Fatal(err)
			}
			b.set(rate)
			for range rapid.IntRange(0, 60).Draw(t, "asks") {
				passed := time.Duration(rapid.IntRange(0, 30).Draw(t, "ms")) * time.Millisecond
				now = now.Add(passed)
				b.add(rate * passed.Seconds())
				items := rapid.IntRange(1, 50).Draw(t, "items")
				v, l := s.Ask(now, 0, items), s.Limits()
				switch {
				case v.Go && rate > 0:
					if b.held -= float64(v.Items); b.held < -close {
						t.Fatalf("%d items passed, %v more than the bucket held", v.Items, -b.held)
					}
				case !v.Go && l.InFlight < l.Concurrency && float64(min(items, l.Batch)) < b.held-close:
					t.Fatalf("%d of a batch of %d were refused, the bucket holds %v", items, l.Batch, b.held)
				}
				if v.Go {
					out = append(out, grant{pace.Call{Start: now, Grant: v.Grant}, v.Items, b.epoch})
				}
				if len(out) > 0 && rapid.Bool().Draw(t, "end") {
					c := out[0]
					out = out[1:]
					c.Items = rapid.IntRange(0, c.n).Draw(t, "sent")
					c.Unused = c.n - c.Items
					s.Done(now, c.Call)
					if c.epoch == b.epoch {
						b.add(float64(c.Unused))
					}
				}
			}
		}
	})
}

// A call that was let through while there was no rate has taken no tokens, and gives none to the rate that came since.
func TestSteeredGivesBackOnlyWhatWasTaken(t *testing.T) {
	t.Parallel()
	chart, err := pace.NewChart(pace.ChartConfig{Batch: 100})
	s := steered(t, chart, err)
	if err := s.Steer(epoch, pace.Override{Fixed: true, Concurrency: 10, Batch: 100}); err != nil {
		t.Fatal(err)
	}
	free := s.Ask(epoch, 0, 100)
	limited := pace.Override{Fixed: true, Concurrency: 10, Batch: 100, Rate: 10}
	if err := s.Steer(epoch, limited); err != nil {
		t.Fatal(err)
	}
	taken := s.Ask(epoch, 0, 100)
	if !free.Go || !taken.Go || s.Ask(epoch, 0, 1).Go {
		t.Fatal("the bucket does not hold 100")
	}
	s.Done(epoch, pace.Call{Start: epoch, Unused: 100, Grant: free.Grant, Outcome: pace.OutcomeCanceled})
	if s.Ask(epoch, 0, 1).Go {
		t.Fatal("tokens were made up")
	}
	limited.Rate = 20 // another rate is the same bucket
	if err := s.Steer(epoch, limited); err != nil {
		t.Fatal(err)
	}
	s.Done(epoch, pace.Call{Start: epoch, Unused: 100, Grant: taken.Grant, Outcome: pace.OutcomeCanceled})
	if !s.Ask(epoch, 0, 100).Go {
		t.Fatal("tokens were lost")
	}
}

func (w *workers) steer(o pace.Override) {
	w.t.Helper()
	if err := w.pacer.(*pace.Steered).Steer(w.now, o); err != nil {
		w.t.Fatal(err)
	}
}

// share is what is delivered of the store's best, and the most calls at once meanwhile.
func (w *workers) share(d time.Duration) (share float64, most int) {
	w.done, w.most = 0, 0
	w.run(d)
	return float64(w.done) / (d.Seconds() * float64(w.c) / w.each.Seconds()), w.most
}

func steeredWorkers(t *testing.T, knee int) *workers {
	t.Helper()
	w := newWorkers(t, pace.ChartConfig{}, knee, 10*time.Millisecond)
	w.pacer = pace.NewSteered(w.pacer)
	w.run(10 * time.Second)
	return w
}

// Fixed far below and far above the knee, and let go of again: it finds back, and no herd goes out.
func TestChartComesBackFromAFixedTime(t *testing.T) {
	t.Parallel()
	const knee = 20
	for _, fixed := range []int{1, 5, 20, 400} {
		w := steeredWorkers(t, knee)
		before := w.pacer.Limits().Concurrency
		w.steer(pace.Override{Fixed: true, Concurrency: fixed})
		share, most := w.share(30 * time.Second)
		if want := math.Min(1, float64(fixed)/knee); most != fixed && fixed >= before || share < .97*want || share > 1.01*want {
			t.Errorf("fixed at %d: %d calls at once deliver %.2f", fixed, most, share)
		}
		w.steer(pace.Override{})
		if l := w.pacer.Limits(); l.Concurrency > min(fixed, before+before/2) {
			t.Errorf("let go of %d, it begins at %d (it was at %d)", fixed, l.Concurrency, before)
		}
		w.run(time.Duration(fixed) * w.each) // what was sent in the fixed time comes back
		if _, most := w.share(3 * time.Second); most > 5*knee/2 {
			t.Errorf("let go of %d: %d calls at once for a knee of %d", fixed, most, knee)
		}
		if share, _ := w.share(10 * time.Second); share < .95 {
			t.Errorf("let go of %d: %.2f of the best with a limit of %d", fixed, share, w.pacer.Limits().Concurrency)
		}
	}
}

// Failures of a fixed time say nothing of the speed after it.
func TestChartLearnsNothingFromAFixedTime(t *testing.T) {
	t.Parallel()
	w := steeredWorkers(t, 20)
	before := w.pacer.Limits().Concurrency
	w.steer(pace.Override{Fixed: true, Concurrency: 2})
	w.run(time.Second) // until two are out
	w.steer(pace.Override{Fixed: true, Concurrency: 300})
	var out []pace.Call
	for v := w.pacer.Ask(w.now, 0, 1); v.Go; v = w.pacer.Ask(w.now, 0, 1) {
		out = append(out, pace.Call{Start: w.now, Items: v.Items, Grant: v.Grant, Outcome: pace.OutcomeOverload})
	}
	for i := range out { // in turns, or it would be an outage, and the breaker's
		if i%2 == 0 {
			out[i].Outcome = pace.OutcomeOK
		}
	}
	w.now = w.now.Add(time.Second)
	for _, c := range out[:len(out)/2] {
		w.pacer.Done(w.now, c)
	}
	w.steer(pace.Override{Fixed: true, Concurrency: 20})
	w.steer(pace.Override{})
	for _, c := range out[len(out)/2:] {
		w.pacer.Done(w.now, c)
	}
	if l := w.pacer.Limits().Concurrency; l > before+before/2 || l < min(before, 20) {
		t.Errorf("a limit of %d after it, %d before", l, before)
	}
	w.run(3 * time.Second)
	if share, _ := w.share(5 * time.Second); share < .95 {
		t.Errorf("%.2f of the best with a limit of %d", share, w.pacer.Limits().Concurrency)
	}
}

func TestBoundsHoldWhatMeasuringMayFind(t *testing.T) {
	t.Parallel()
	const knee = 20
	w := steeredWorkers(t, knee)
	w.steer(pace.Override{Max: 5})
	if mode := w.pacer.(*pace.Steered).Mode(); mode != pace.ModeBounded {
		t.Errorf("mode %s", mode)
	}
	w.run(time.Second)
	share, most := w.share(20 * time.Second)
	if most != 5 || share < .24 || share > .26 {
		t.Errorf("at most 5: %d at once deliver %.2f", most, share)
	}
	w.steer(pace.Override{Min: 60}) // over what measuring had chosen, and less than is configured
	w.run(2 * time.Second)
	if l := w.pacer.Limits().Concurrency; l < 60 {
		t.Errorf("at least 60: a limit of %d", l)
	}
	w.steer(pace.Override{Max: 5})
	w.run(5 * time.Second)
	w.steer(pace.Override{})
	w.run(3 * time.Second) // in a hurry: it was held
	if share, most := w.share(5 * time.Second); share < .95 || most > 5*knee/2 {
		t.Errorf("let go: %d at once deliver %.2f", most, share)
	}
}

// Held far below a slow store's knee it comes back in a hurry, not step by step.
func TestBoundsLetGoOfAreLeftInAHurry(t *testing.T) {
	t.Parallel()
	w := newWorkers(t, pace.ChartConfig{}, 40, 250*time.Millisecond)
	w.pacer = pace.NewSteered(w.pacer)
	w.run(time.Minute)
	w.steer(pace.Override{Max: 4})
	w.run(time.Minute)
	w.steer(pace.Override{})
	w.run(10 * time.Second)
	if l := w.pacer.Limits().Concurrency; l < 34 {
		t.Errorf("a limit of %d after 10 s", l)
	}
}

func TestBoundsBeyondTheConfiguredGoBefore(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		o         pace.Override
		low, high int
	}{
		{pace.Override{Min: 50}, 50, 50},
		{pace.Override{Max: 2}, 2, 2},
		{pace.Override{Min: 20, Max: 30}, 20, 30},
		{pace.Override{}, 10, 16},
	} {
		w := newWorkers(t, pace.ChartConfig{Min: 10, Max: 16}, 100, 10*time.Millisecond)
		w.pacer = pace.NewSteered(w.pacer)
		w.run(time.Second)
		w.steer(tc.o)
		w.run(5 * time.Second)
		if l := w.pacer.Limits().Concurrency; l < tc.low || l > tc.high {
			t.Errorf("%+v: a limit of %d", tc.o, l)
		}
	}
}

// A rate that lets less through at once than the batch that was found must not stop the lane.
func TestRateUnderTheBatchLetsItemsPass(t *testing.T) {
	t.Parallel()
	w := newWorkers(t, pace.ChartConfig{}, 4, time.Millisecond)
	w.pacer, w.items = pace.NewSteered(w.pacer), 500
	w.item = 10 * time.Microsecond
	w.run(20 * time.Second)
	if b := w.pacer.Limits().Batch; b < 8 {
		t.Fatalf("a batch of %d: the test needs a larger one", b)
	}
	for _, o := range []pace.Override{{Rate: 20}, {Fixed: true, Concurrency: 3, Rate: 20}} {
		w.steer(o)
		if l := w.pacer.Limits(); l.Batch > 2 || l.Rate != 20 {
			t.Fatalf("%+v: %+v", o, l)
		}
		w.run(time.Minute)
		if v := w.pacer.Ask(w.now, 0, 500); !v.Go {
			t.Errorf("%+v: refused after a minute: %+v", o, v)
		} else {
			w.pacer.Done(w.now, pace.Call{Start: w.now, Items: v.Items, Grant: v.Grant})
		}
	}
}

// A fixed pace ramps after an outage like any other, and letting go of it then begins at what it had reached.
func TestFixedTimeComesBackByDegrees(t *testing.T) {
	t.Parallel()
	w := steeredWorkers(t, 20)
	w.steer(pace.Override{Fixed: true, Concurrency: 20})
	w.run(time.Second)
	w.pacer.Resume(w.now)
	if l := w.pacer.Limits(); l.Ramp > .2 {
		t.Errorf("full speed at once: %+v", l)
	}
	w.steer(pace.Override{})
	if l := w.pacer.Limits(); l.Concurrency > 2 {
		t.Errorf("a limit of %d at a tenth of the way back to 20", l.Concurrency)
	}
}

// What is configured changes under a running pacer: bounds, and whether it measures at all.
func TestConfigureKeepsWhatWasMeasuredAndWhatIsOut(t *testing.T) {
	t.Parallel()
	w := steeredWorkers(t, 20)
	s := w.pacer.(*pace.Steered)
	configure := func(p pace.Pacer, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Configure(w.now, p); err != nil {
			t.Fatal(err)
		}
	}
	chart := func(c pace.ChartConfig) {
		t.Helper()
		p, err := pace.NewChart(c)
		configure(p, err)
	}
	before := s.Limits()
	chart(pace.ChartConfig{Max: 500})
	if got, want := s.Configured(), (pace.Override{Min: 1, Max: 500, Batch: 1000}); got != want {
		t.Errorf("configured: %+v, want %+v", got, want)
	}
	if l := s.Limits(); l != before {
		t.Errorf("what was measured is gone: %+v, was %+v", l, before)
	}
	w.steer(pace.Override{Max: 30})
	chart(pace.ChartConfig{Max: 8})
	w.steer(pace.Override{})
	if l := s.Limits(); l.Concurrency > 8 || l.InFlight != before.InFlight {
		t.Errorf("at most 8 are configured: %+v", l)
	}
	f, err := pace.NewFixed(pace.Config{Concurrency: 3})
	configure(f, err)
	if got, want := s.Configured(), (pace.Override{Fixed: true, Concurrency: 3, Batch: pace.DefaultBatch}); got != want {
		t.Errorf("configured: %+v, want %+v", got, want)
	}
	if l := s.Limits(); s.Mode() != pace.ModeFixed || l.Concurrency != 3 || l.InFlight != before.InFlight {
		t.Errorf("3 are configured: %+v", l)
	}
	w.steer(pace.Override{Fixed: true, Concurrency: 9})
	chart(pace.ChartConfig{})
	if l := s.Limits(); l.Concurrency != 9 {
		t.Errorf("the override is gone: %+v", l)
	}
	w.steer(pace.Override{})
	if s.Mode() != pace.ModeAuto {
		t.Errorf("mode %s", s.Mode())
	}
	w.run(5 * time.Second)
	if share, _ := w.share(5 * time.Second); share < .95 {
		t.Errorf("%.2f of the best", share)
	}
}

func TestOverrideValidate(t *testing.T) {
	t.Parallel()
	chart, err := pace.NewChart(pace.ChartConfig{})
	s := steered(t, chart, err)
	for field, o := range map[string]pace.Override{
		"fixed.concurrency: must be calls at once, 1 to 10000": {Fixed: true},
		"fixed.concurrency":      {Fixed: true, Concurrency: 10_001},
		"bounds: ":               {Fixed: true, Concurrency: 1, Min: 1},
		"fixed.batch":            {Fixed: true, Concurrency: 1, Batch: -1},
		"bounds.min_concurrency": {Min: -1},
		"bounds.max_concurrency": {Min: 5, Max: 4},
		"bounds.rate":            {Rate: math.NaN()},
		"fixed.rate":             {Fixed: true, Concurrency: 1, Rate: math.Inf(1)},
		"fixed: ":                {Batch: 7},
	} {
		if err := s.Steer(epoch, o); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if s.Override() != (pace.Override{}) || s.Mode() != pace.ModeAuto {
		t.Errorf("a refused override is in force: %+v", s.Override())
	}
	if pace.NewSteered(s) != s {
		t.Error("a Steered was wrapped again")
	}
	alien := pace.NewSteered(struct{ pace.Pacer }{s})
	if err := alien.Steer(epoch, pace.Override{Max: 3}); !errors.Is(err, pace.ErrNotSteerable) {
		t.Errorf("%v", err)
	}
	if err := alien.Configure(epoch, chart); !errors.Is(err, pace.ErrNotSteerable) {
		t.Errorf("%v", err)
	}
	if v := alien.Ask(epoch, 0, 1); !v.Go {
		t.Errorf("a pacer that cannot be steered works: %+v", v)
	}
}

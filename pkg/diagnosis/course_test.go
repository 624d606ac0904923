package diagnosis_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/surgegate/surgegate/pkg/diagnosis"
	"github.com/surgegate/surgegate/pkg/diagnosis/scene"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// course is a surgegate over time: a status a second, diagnosed as the server does it.
type course struct {
	t         *testing.T
	at        time.Time
	speeds    diagnosis.Speeds
	diagnoser *diagnosis.Diagnoser
	window    [][2]served // look-ups and writes of the last 10 seconds
	d         *operatorv1.Diagnosis
	status    *status
}

// served is what was done of one kind within a second.
type served struct{ calls, items, seconds float64 }

func newCourse(t *testing.T) *course {
	return &course{t: t, at: scene.Now(), diagnoser: diagnosis.New()}
}

// tick diagnoses a status a second later.
func (c *course) tick(s *status) *operatorv1.Diagnosis {
	c.at = c.at.Add(time.Second)
	shift := c.at.Sub(s.GetTime().AsTime())
	s.Time = timestamppb.New(c.at)
	for _, d := range s.GetDownstreams() { // what was a second ago is a second ago
		for _, at := range []**timestamppb.Timestamp{&d.LastCallTime, &d.LastSuccessTime, &d.OutageStartTime} {
			if *at != nil {
				*at = timestamppb.New((*at).AsTime().Add(shift))
			}
		}
	}
	c.speeds.Observe(s)
	c.status, c.d = s, c.diagnoser.Observe(s, nil)
	return c.d
}

func (c *course) has(id string) bool {
	return slices.ContainsFunc(c.d.GetFindings(), func(f *operatorv1.Finding) bool { return f.GetId() == id })
}

// load is what a store with a queue before its workers is given for a while.
type load struct {
	seconds int
	lookups float64 // share of the calls
	calls   int     // at once
	limit   int     // of calls at once; 0: calls
	workers float64
	speed   float64 // 0: 1
	batch   float64 // items a call; 0: 1
}

// run lets the store work: a look-up takes 1 ms of a worker, a write 21 ms, and who finds no worker waits in line.
func (c *course) run(l load, check func()) {
	c.t.Helper()
	speed, batch := l.speed, l.batch
	if speed == 0 {
		speed = 1
	}
	if batch == 0 {
		batch = 1
	}
	service := [2]float64{.001 / speed, .021 / speed}
	share := [2]float64{l.lookups, 1 - l.lookups}
	mean := share[0]*service[0] + share[1]*service[1]
	wait := mean * max(0, float64(l.calls)-l.workers) / l.workers
	perSecond := min(float64(l.calls), l.workers) / mean
	for range l.seconds {
		var now [2]served
		for k := range now {
			n := perSecond * share[k]
			now[k] = served{calls: n, items: n * batch, seconds: n * (service[k] + wait)}
		}
		if c.window = append(c.window, now); len(c.window) > 10 {
			c.window = c.window[1:]
		}
		c.tick(c.look(l))
		check()
	}
}

// look is the status of now: an hour of people wait for the store.
func (c *course) look(l load) *status {
	s := scene.StoreSlow()
	s.StartTime = timestamppb.New(scene.Now().Add(-time.Hour))
	d := scene.Downstream(s, "store")
	d.InFlight, d.ConcurrencyLimit = uint32(l.calls), uint32(max(l.calls, l.limit))
	d.Kinds, d.CallRate, d.ItemRate = nil, 0, 0
	seconds := 0.
	for k, kind := range []string{"lookup", "write"} {
		var sum served
		for _, w := range c.window {
			sum.calls, sum.items, sum.seconds = sum.calls+w[k].calls, sum.items+w[k].items, sum.seconds+w[k].seconds
		}
		n := float64(len(c.window))
		st := &operatorv1.CallKindStatus{Kind: kind, CallRate: sum.calls / n, ItemRate: sum.items / n}
		if sum.calls > 0 {
			st.CallTime = durationpb.New(time.Duration(sum.seconds / sum.calls * float64(time.Second)))
		}
		d.Kinds = append(d.Kinds, st)
		d.CallRate, d.ItemRate, seconds = d.CallRate+st.CallRate, d.ItemRate+st.ItemRate, seconds+sum.seconds/n
	}
	d.CallTime = durationpb.New(time.Duration(seconds / d.GetCallRate() * float64(time.Second)))
	return s
}

// A storm begins with look-ups, goes on with both and ends with writes. Nothing of that is the store's slowness, however many calls
// the pace finds to be best for each, and however many more than the store has workers for.
func TestAStormsCourseIsNoSlowness(t *testing.T) {
	t.Parallel()
	for name, calls := range map[string][3]int{
		"as many calls throughout": {8, 8, 8}, "more calls than workers": {16, 16, 16}, "fewer for writes": {32, 8, 4},
		"more for writes": {8, 16, 32},
	} {
		c := newCourse(t)
		never := func() {
			if c.has("downstream_slow") {
				t.Fatalf("%s: after %v: %v", name, c.at.Sub(scene.Now()), c.d.GetFindings())
			}
		}
		c.run(load{seconds: 120, lookups: 1, calls: calls[0], workers: 8}, never)
		for _, lookups := range []float64{.99, .97, .95, .9, .8, .6, .4, .2, .1} { // of the calls
			c.run(load{seconds: 20, lookups: lookups, calls: calls[1], workers: 8}, never)
		}
		c.run(load{seconds: 300, calls: calls[2], workers: 8}, never)
		c.run(load{seconds: 60, lookups: .9, calls: calls[1], workers: 8}, never) // a second mailing
		c.run(load{seconds: 60, lookups: 1, calls: calls[0], workers: 8}, never)
		if !c.has("downstream_limit") {
			t.Errorf("%s: people wait for the store, and nothing says so: %v", name, c.d.GetFindings())
		}
	}
}

// At half its speed it is slower, is told so within seconds, stays so when the pace has followed it down, and not for longer.
func TestAStoreThatGetsSlowerIsTold(t *testing.T) {
	t.Parallel()
	for name, slower := range map[string][2]load{
		"half the speed":   {{speed: .5, workers: 8, calls: 8}, {speed: .5, workers: 8, calls: 8}},
		"half the workers": {{workers: 4, calls: 8}, {workers: 4, calls: 4}},
		"of a mix":         {{speed: .5, workers: 8, calls: 8, lookups: .8}, {speed: .5, workers: 8, calls: 8, lookups: .8}},
	} {
		c := newCourse(t)
		c.run(load{seconds: 60, calls: 8, workers: 8, lookups: slower[0].lookups}, func() {})
		slower[0].seconds = 20
		c.run(slower[0], func() {})
		if !c.has("downstream_slow") {
			t.Errorf("%s: not told within 20 s: %v", name, c.d.GetFindings())
		}
		slower[1].seconds = 120
		c.run(slower[1], func() {
			if !c.has("downstream_slow") {
				t.Fatalf("%s: not told any more after %v", name, c.at.Sub(scene.Now()))
			}
		})
		if r := scene.Downstream(c.status, "store").GetSpeedRatio(); r < .45 || r > .55 {
			t.Errorf("%s: at %v of its best, want a half", name, r)
		}
		c.run(load{seconds: 30, calls: 8, workers: 8, lookups: slower[0].lookups}, func() {})
		if c.has("downstream_slow") {
			t.Errorf("%s: still told when it is mended", name)
		}
	}
}

func TestWhatIsNoSlowness(t *testing.T) {
	t.Parallel()
	best := load{seconds: 60, calls: 32, workers: 32}
	for name, then := range map[string][]load{
		"a pace that climbs anew":       {{seconds: 20, calls: 2, workers: 32}, {seconds: 20, calls: 8, workers: 32}, {seconds: 20, calls: 20, workers: 32}},
		"nobody asks for more":          {{seconds: 60, calls: 2, limit: 32, workers: 32}},
		"more calls than it has uses":   {{seconds: 60, calls: 64, workers: 32}},
		"one call at a time, in a lull": {{seconds: 60, calls: 1, limit: 32, workers: 32, batch: 1}},
	} {
		c := newCourse(t)
		c.run(best, func() {})
		for _, l := range then {
			c.run(l, func() {
				if c.has("downstream_slow") {
					t.Fatalf("%s: %v", name, c.d.GetFindings())
				}
			})
		}
	}
	// An item of a batch of 64 costs less than one that travels alone.
	c := newCourse(t)
	c.run(load{seconds: 60, calls: 8, workers: 8, batch: 64}, func() {})
	c.run(load{seconds: 60, calls: 8, workers: 8, batch: 2}, func() {
		if c.has("downstream_slow") {
			t.Fatalf("smaller batches: %v", c.d.GetFindings())
		}
	})
}

// Calls that come back do not hang, however many are out at the moment.
func TestHangingNeedsCallsOutAndNoneBack(t *testing.T) {
	t.Parallel()
	s := scene.MailSlow()
	d := scene.Downstream(s, "mail")
	d.InFlight, d.ConcurrencyLimit, d.CallRate, d.ItemRate, d.CallTime = 8, 8, 87, 87, durationpb.New(6*time.Millisecond)
	d.LastCallTime, d.LastSuccessTime = scene.Ago(0), scene.Ago(10*time.Millisecond)
	for _, f := range diagnosis.Once(s, nil).GetFindings() {
		if f.GetDownstream() == "mail" {
			t.Errorf("87 mails a second go out, and %s: %s", f.GetId(), f.GetTitle())
		}
	}
	store := scene.StoreHangs()
	c := newCourse(t)
	c.tick(store)
	if !c.has("downstream_hanging") {
		t.Fatalf("%v", c.d.GetFindings())
	}
	back := scene.StoreHangs()
	scene.Downstream(back, "store").LastSuccessTime = scene.Ago(0)
	if c.tick(back); c.has("downstream_hanging") {
		t.Error("it is still accused when a call has come back")
	}
}

// A provider that does not answer while its limit lets more and more calls out hangs as well.
func TestHangingWhileMoreIsSent(t *testing.T) {
	t.Parallel()
	c := newCourse(t)
	for i := range 8 {
		c.tick(with(scene.MailSlow(), func(s *status) {
			d := scene.Downstream(s, "mail")
			d.InFlight, d.ConcurrencyLimit, d.CallRate, d.ItemRate, d.CallTime = uint32(12*(i+1)), 96, 4, 4, durationpb.New(80*time.Millisecond)
			d.LastCallTime, d.LastSuccessTime = scene.Ago(0), scene.Ago(time.Duration(i)*time.Second)
		}))
		if c.has("downstream_hanging") != (i >= 3) {
			t.Errorf("%d s after the last answer: %v", i, c.d.GetFindings())
		}
	}
}

// A downstream that comes back by its ramp and fails or hangs again is told as that.
func TestTheRampHidesNothing(t *testing.T) {
	t.Parallel()
	failing := func(s *status) {
		d := scene.Downstream(s, "mail")
		d.CallRate, d.FailureRate = 3, 3
		d.Failures = []*operatorv1.FailureStatus{{Outcome: "error", Code: "SMTP 554", Count: 30, LastTime: scene.Ago(0)}}
	}
	for want, change := range map[string]func(*status){
		"recovering":         func(*status) {},
		"downstream_failing": failing,
		"downstream_dark":    func(s *status) { scene.Downstream(s, "mail").OutageStartTime = scene.Ago(time.Minute) },
		"downstream_hanging": func(s *status) {
			d := scene.Downstream(s, "mail")
			d.InFlight, d.LastCallTime, d.LastSuccessTime = 4, scene.Ago(20*time.Second), scene.Ago(21*time.Second)
		},
	} {
		s := with(scene.Calm(), change)
		scene.Downstream(s, "mail").Ramp = .3
		if f := diagnosis.Once(s, nil).GetFindings(); len(f) == 0 || f[0].GetId() != want {
			t.Errorf("want %s: %v", want, f)
		}
	}
	// What failed before it came back is in the rates for 10 s.
	s := with(scene.Calm(), failing)
	d := scene.Downstream(s, "mail")
	d.Ramp, d.Failures[0].LastTime = .3, scene.Ago(5*time.Second)
	if f := diagnosis.Once(s, nil).GetFindings(); len(f) != 1 || f[0].GetId() != "recovering" {
		t.Errorf("5 s after the last failure: %v", f)
	}
}

// Calls that hang are told before anybody has waited for long; one call that takes long is no news.
func TestHangingBeforeThereIsALine(t *testing.T) {
	t.Parallel()
	for out, want := range map[uint32]operatorv1.Severity{1: note, 4: look} {
		c := newCourse(t)
		for i := range 5 {
			c.tick(with(scene.Calm(), func(s *status) {
				d := scene.Downstream(s, "mail")
				d.InFlight, d.LastSuccessTime = out, scene.Ago(time.Duration(i)*time.Second)
			}))
		}
		if f := c.d.GetFindings(); len(f) != 1 || f[0].GetId() != "downstream_hanging" || f[0].GetSeverity() != want {
			t.Errorf("%d calls out: %v", out, f)
		}
	}
}

// Rates and times of calls are of the last 10 s: so long after a shortage of processor time they are not trusted.
func TestAShortageThatHasJustEnded(t *testing.T) {
	t.Parallel()
	c := newCourse(t)
	c.tick(scene.Starved())
	c.at = c.at.Add(7 * time.Second)
	c.tick(with(scene.MailSlow(), func(s *status) { s.Process = &operatorv1.ProcessStatus{} }))
	if f := c.d.GetFindings(); len(f) != 1 || f[0].GetId() != "gateway_starved" || !strings.Contains(f[0].GetSays(), "until 8s ago") {
		t.Errorf("8 s after it: %v", f)
	}
	c.at = c.at.Add(2 * time.Second)
	c.tick(with(scene.MailSlow(), func(s *status) { s.Process = &operatorv1.ProcessStatus{} }))
	if c.has("gateway_starved") {
		t.Errorf("11 s after it: %v", c.d.GetFindings())
	}
	c.tick(scene.Starved())
	c.at = c.at.Add(-time.Hour)
	c.tick(with(scene.MailSlow(), func(s *status) { s.Process = &operatorv1.ProcessStatus{} }))
	if c.has("gateway_starved") {
		t.Errorf("the clock was set back: %v", c.d.GetFindings())
	}
}

// A few slow commits are no slow disk.
func TestASlowDiskLasts(t *testing.T) {
	t.Parallel()
	c := newCourse(t)
	c.tick(scene.Calm())
	for i := range 8 {
		if c.tick(scene.DiskSlow()); c.has("disk_slow") != (i >= 5) {
			t.Errorf("slow for %d s: %v", i, c.d.GetFindings())
		}
	}
	for range 6 {
		c.tick(scene.Calm())
	}
	if c.has("disk_slow") {
		t.Errorf("fast for 5 s: %v", c.d.GetFindings())
	}
}

// Where the revoker is the store it is no second culprit, and what nobody has asked for since is told as that.
func TestTheRevokerIsNotAccusedOfTheStore(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*status){
		"store half open": func(s *status) {
			d := scene.Downstream(s, "store")
			d.Breaker = "half_open"
		},
		"store dark": func(*status) {},
		"store coming back": func(s *status) {
			d := scene.Downstream(s, "store")
			d.Breaker, d.Ramp, d.OutageStartTime = "closed", .4, nil
		},
	} {
		s := scene.StoreDark()
		r := scene.Downstream(s, "revoker")
		r.Breaker, r.OutageStartTime, r.LastCallTime, r.FailureRate = "open", scene.Ago(240*time.Second), scene.Ago(time.Second), 1
		change(s)
		for _, f := range diagnosis.Once(s, nil).GetFindings() {
			if f.GetDownstream() == "revoker" {
				t.Errorf("%s: %s", name, f.GetTitle())
			}
		}
	}
}

// The store is back, and the revoker's breaker is still open: its last call was the store's fault.
func TestTheRevokerIsUntriedAfterTheStoreWasIll(t *testing.T) {
	t.Parallel()
	c := newCourse(t)
	revoker := func(s *status) {
		r := scene.Downstream(s, "revoker")
		r.Breaker, r.OutageStartTime, r.LastCallTime, r.FailureRate = "open", scene.Ago(20*time.Second), scene.Ago(time.Second), 1
	}
	causes := func() (ids []string) {
		for _, f := range c.d.GetFindings() {
			if f.GetDownstream() == "revoker" {
				ids = append(ids, f.GetId())
			}
		}
		return ids
	}
	c.tick(with(scene.StoreDark(), revoker))
	for i := range 20 {
		c.tick(with(scene.Calm(), func(s *status) {
			revoker(s)
			scene.Downstream(s, "revoker").LastCallTime = scene.Ago(time.Duration(i+1) * time.Second)
		}))
		if got := causes(); i < 9 && len(got) > 0 || i >= 10 && !slices.Equal(got, []string{"untried"}) {
			t.Fatalf("%d s after the store was back: %v", i+1, got)
		}
	}
	for range 2 { // now it is tried, and it fails by itself
		c.tick(with(scene.Calm(), func(s *status) {
			revoker(s)
			scene.Downstream(s, "revoker").LastCallTime = scene.Ago(0)
		}))
	}
	if got := causes(); !slices.Equal(got, []string{"downstream_dark"}) {
		t.Errorf("it fails while the store is well: %v", got)
	}
}

func TestWhatNobodyHasTriedSinceIsNotToldAsAFault(t *testing.T) {
	t.Parallel()
	d := diagnosis.Once(scene.RevokerUntried(), nil)
	const want = "the session service failed when it was last tried; not tried since 03:12:30 UTC"
	if f := d.GetFindings(); len(f) != 1 || f[0].GetId() != "untried" || f[0].GetSeverity() != note || f[0].GetTitle() != want {
		t.Errorf("%v", f)
	}
	if d.GetHelped().GetWord() != "YES" {
		t.Errorf("%v", d.GetHelped())
	}
}

// What changes every second leaves the cause as it is; what is true at once is told at once.
func TestACauseIsHeld(t *testing.T) {
	t.Parallel()
	for name, pair := range map[string][2]func() *status{
		"store or mail": {scene.StoreSlow, scene.MailSlow}, "store or nothing": {scene.StoreSlow, scene.Calm}, "flood or nothing": {scene.Flood, scene.Calm},
		"slow or not": {func() *status { return with(scene.StoreSlow(), faster("store", .59)) }, func() *status {
			return with(scene.StoreSlow(), faster("store", .61))
		}},
		"failing or not": {scene.MailThrottled, scene.MailSlow},
	} {
		c := newCourse(t)
		cause := c.tick(pair[0]()).GetLimit().GetWord()
		for i := range 60 {
			c.speeds = diagnosis.Speeds{} // what the scene says stands
			if got := c.tick(pair[(i+1)%2]()).GetLimit().GetWord(); got != cause {
				t.Errorf("%s: after %d s %q, was %q", name, i, got, cause)
				break
			}
		}
	}
	c := newCourse(t)
	c.tick(scene.MailSlow())
	for i := range 10 { // another cause that lasts replaces it, once
		c.tick(scene.StoreSlow())
		if isStore := c.d.GetFindings()[0].GetDownstream() == "store"; isStore != (i >= 5) {
			t.Errorf("after %d s: %v", i, c.d.GetLimit())
		}
	}
	if c.tick(scene.StoreDark()); c.d.GetFindings()[0].GetId() != "downstream_dark" {
		t.Errorf("a breaker opens: %v", c.d.GetLimit())
	}
	since := c.d.GetFindings()[0].GetStartTime().AsTime()
	if c.tick(scene.StoreDark()); !c.d.GetFindings()[0].GetStartTime().AsTime().Equal(since) || !since.Equal(c.at.Add(-time.Second)) {
		t.Errorf("dark since %v, at %v", since, c.at)
	}
}

// A provider that takes a third of the mails throttles, whatever its breaker does meanwhile; once it takes none it does not work.
func TestAProviderThatThrottles(t *testing.T) {
	t.Parallel()
	provider := func(breaker string, ramp, calls, failures float64, success time.Duration) func() *status {
		return func() *status {
			return with(scene.MailThrottled(), func(s *status) {
				d := scene.Downstream(s, "mail")
				d.Breaker, d.Ramp, d.CallRate, d.FailureRate, d.LastSuccessTime, d.LastCallTime = breaker, ramp, calls, failures, scene.Ago(success), scene.Ago(0)
				if breaker != "closed" {
					d.OutageStartTime = scene.Ago(2 * time.Second)
				}
				d.Failures = []*operatorv1.FailureStatus{
					{Outcome: "timeout", Code: "TIMEOUT", Count: 900, LastTime: scene.Ago(time.Minute)},
					{Outcome: "overload", Code: "SMTP 451 4.7.1", Count: 110, LastTime: scene.Ago(time.Second), Meaning: "too many"},
				}
			})
		}
	}
	open, half, ramp, closed := provider("open", 0, .2, .4, 3*time.Second), provider("half_open", 0, .2, .1, 4*time.Second),
		provider("closed", .3, .3, .1, 0), provider("closed", 1, 4, 8, 0)
	c := newCourse(t)
	for i, s := range []func() *status{closed, open, half, ramp, ramp, open, open, half, ramp, closed, open, half, open} {
		c.tick(s())
		if f := c.d.GetFindings(); f[0].GetId() != "downstream_failing" || f[0].GetDownstream() != "mail" || !strings.Contains(f[0].GetTitle(), "throttles") {
			t.Fatalf("after %d s: %v", i, f)
		}
	}
	c.tick(provider("open", 0, 0, .4, 20*time.Second)())
	if f := c.d.GetFindings(); f[0].GetId() != "downstream_dark" {
		t.Errorf("none was taken for 20 s: %v", f)
	}
}

// A provider that throttles lets a call through now and then: its breaker opens and closes, and it is not back in between.
func TestWhatComesAndGoesIsOneCause(t *testing.T) {
	t.Parallel()
	dark := func() *status {
		return with(scene.MailSlow(), func(s *status) {
			d := scene.Downstream(s, "mail")
			d.Breaker, d.Ramp, d.OutageStartTime, d.LastCallTime, d.FailureRate = "open", 0, scene.Ago(time.Second), scene.Ago(time.Second), 2
		})
	}
	half := func() *status {
		return with(dark(), func(s *status) { scene.Downstream(s, "mail").Breaker = "half_open" })
	}
	back := func() *status {
		return with(scene.MailSlow(), func(s *status) { d := scene.Downstream(s, "mail"); d.Ramp, d.LastSuccessTime = .3, scene.Ago(0) })
	}
	c := newCourse(t)
	for i, s := range []func() *status{dark, half, back, back, dark, half, half, back, back, back, dark, back, back, back, back} {
		if c.tick(s()); c.d.GetFindings()[0].GetId() != "downstream_dark" {
			t.Fatalf("after %d s: %v", i, c.d.GetFindings())
		}
	}
	if says := c.d.GetFindings()[0].GetSays(); !strings.Contains(says, "going well for a moment") {
		t.Errorf("a call goes well, and it says %q", says)
	}
	c.tick(back())
	if c.tick(back()); c.d.GetFindings()[0].GetId() != "recovering" {
		t.Errorf("back for 5 s: %v", c.d.GetFindings())
	}
}

// While surgegate lacks processor time nobody else is accused of being slow.
func TestStarvedAccusesNobodyElse(t *testing.T) {
	t.Parallel()
	starve := func(s *status) *status { s.Process = scene.Starved().GetProcess(); return s }
	timeouts := scene.MailThrottled()
	scene.Downstream(timeouts, "mail").Failures = []*operatorv1.FailureStatus{{Outcome: "timeout", Code: "DEADLINE_EXCEEDED", Count: 110}}
	for name, s := range map[string]*status{
		"slow store": scene.Starved(), "slow mail": starve(scene.MailSlow()), "hanging": starve(scene.StoreHangs()),
		"time-outs": starve(timeouts), "disk": starve(scene.DiskSlow()), "calm": starve(scene.Calm()),
	} {
		d := diagnosis.Once(s, nil)
		if f := d.GetFindings(); f[0].GetId() != "gateway_starved" || f[0].GetRunbook() != "SurgegateStarved" {
			t.Errorf("%s: %v", name, f)
		}
		for _, f := range d.GetFindings() {
			if f.GetDownstream() != "" {
				t.Errorf("%s: %s", name, f.GetTitle())
			}
		}
	}
	// That all slots of its own hash pool are in use is true as well.
	d := diagnosis.Once(starve(scene.HashBusy()), nil)
	if f := d.GetFindings(); f[0].GetId() != "gateway_starved" || f[1].GetId() != "hash_pool_busy" {
		t.Errorf("%v", f)
	}
	// What answers that it cannot, does so whoever asks.
	d = diagnosis.Once(starve(scene.StoreDark()), nil)
	if f := d.GetFindings(); f[0].GetId() != "gateway_starved" || f[1].GetId() != "downstream_dark" {
		t.Errorf("%v", f)
	}
}

// A code and what it means are worth more than a rate of failures; a downstream at which nothing succeeds is out, whatever the code.
func TestFailuresAreNamed(t *testing.T) {
	t.Parallel()
	failures := []*operatorv1.FailureStatus{{Outcome: "error", Code: "SQLSTATE 23514", Count: 40, Meaning: "a constraint of the table is violated."}}
	for _, c := range []struct {
		name   string
		status *status
		id     string
		says   string
	}{
		{"misconfigured", scene.StoreMisconfigured(), "downstream_misconfigured",
			"grant UPDATE (password_hash) on users to the role surgegate. Most of its failures are SQLSTATE 42501: a privilege is missing."},
		{"failing", with(scene.MailThrottled(), func(s *status) {
			scene.Downstream(s, "mail").Failures = []*operatorv1.FailureStatus{{Outcome: "overload", Code: "SMTP 451 4.7.1", Count: 110, Meaning: "too many"}}
		}), "downstream_failing", "Most of its failures are SMTP 451 4.7.1: too many."},
		{"nothing succeeds", with(scene.StoreSlow(), func(s *status) {
			d := scene.Downstream(s, "store")
			d.CallRate, d.FailureRate, d.LastSuccessTime, d.LastCallTime, d.Failures = 3, 5, scene.Ago(6*time.Second), scene.Ago(0), failures
		}), "downstream_dark", "Most of its failures are SQLSTATE 23514: a constraint of the table is violated."},
		{"one kind of calls is out", with(scene.StoreSlow(), func(s *status) {
			d := scene.Downstream(s, "store")
			d.OutageStartTime, d.Failures = scene.Ago(time.Minute), append([]*operatorv1.FailureStatus{{Outcome: "item", Code: "NOT_FOUND", Count: 99}},
				failures...)
		}), "downstream_dark", "One kind of its calls has not succeeded for 1m, since 03:11:44 UTC; others do. Most of its failures are SQLSTATE 23514"},
		{"nothing succeeds, in a quiet night", with(scene.Calm(), func(s *status) {
			d := scene.Downstream(s, "store")
			d.CallRate, d.FailureRate, d.LastSuccessTime, d.LastCallTime, d.Failures = 0, .1, scene.Ago(time.Hour), scene.Ago(9*time.Second), failures
		}), "downstream_dark", "The last success was 1h ago"},
	} {
		f := diagnosis.Once(c.status, nil).GetFindings()
		if len(f) == 0 || f[0].GetId() != c.id || !strings.Contains(f[0].GetSays(), c.says) {
			t.Errorf("%s: %v", c.name, f)
		}
	}
}

func TestCausesAreAllThatIsFound(t *testing.T) {
	t.Parallel()
	known := map[diagnosis.Cause]bool{}
	for _, c := range diagnosis.Causes() {
		if known[c] {
			t.Errorf("%v is listed twice", c)
		}
		known[c] = true
	}
	for name, s := range scene.All() {
		for _, f := range diagnosis.Once(s, nil).GetFindings() {
			if !known[diagnosis.Cause{ID: f.GetId(), Downstream: f.GetDownstream()}] {
				t.Errorf("%s: %s of %q is not among the causes", name, f.GetId(), f.GetDownstream())
			}
		}
	}
	if len(known) > 60 {
		t.Errorf("%d series are too many", len(known))
	}
}

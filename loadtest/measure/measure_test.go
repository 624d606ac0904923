package measure

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/surgegate/surgegate/loadtest/people"
)

func TestArmAddsUp(t *testing.T) {
	t.Parallel()
	r := New(Config{Keep: true})
	outcomes := []people.Outcome{
		{Person: 0, Accepted: true, Promised: true, Completed: true, Wait: time.Second},
		{Person: 1, Accepted: true, Promised: true, Completed: true, Wait: 3 * time.Second}, // told so, but not in the store
		{Person: 2, Accepted: true, GaveUp: true},                                           // in the store, but not told
		{Person: 3, Accepted: true, Promised: true, Inside: true},
		{Person: 4, Inside: true},
	}
	for _, o := range outcomes {
		r.Came()
		r.Ended(o)
	}
	for _, c := range []Call{{Code: codes.OK}, {Code: codes.Unavailable, Reason: "SHED_LEVEL_3"}, {Code: codes.Unavailable, FromAttack: true}} {
		r.Sent(c.FromAttack)
		r.Called(c)
	}
	r.Sent(false) // still inside
	r.Owes(2)
	s := r.Sample(2*time.Second, Store{Up: true, Applied: 10})
	if s.Backlog != 3 || s.OfferedRate != 2 || s.FailedRate != 0.5 || s.AppliedRate != 5 {
		t.Errorf("sample %+v", s)
	}
	a := r.Arm("x", &Truth{Has: func(p uint64) bool { return p == 0 || p == 2 }, AppliedTwice: 1, Crashes: 2})
	if a.People != 5 || a.Accepted != 4 || a.Promised != 3 || a.Completed != 2 || a.GaveUp != 1 || a.StillWaiting != 2 ||
		a.Lost != 2 || a.Untold != 1 || a.FailedCalls != 1 || a.AttackerFails != 1 || a.PeakBacklog != 3 || a.StoreCrashes != 2 {
		t.Errorf("arm %+v", a)
	}
	if a.EverybodyP50MS != -1 || a.EverybodyP99MS != -1 { // two of five got there
		t.Errorf("everybody's waits %d and %d ms", a.EverybodyP50MS, a.EverybodyP99MS)
	}
	if a.WaitP50MS != 1000 || a.WaitP99MS < 2990 || a.WaitP99MS > 3010 {
		t.Errorf("waits %d and %d ms", a.WaitP50MS, a.WaitP99MS)
	}
}

// The sample at a run's end comes whenever the run ends, also a moment after another.
func TestRateOverAMomentIsNoRate(t *testing.T) {
	t.Parallel()
	r := New(Config{Keep: true})
	r.Sample(500*time.Millisecond, Store{})
	r.Sample(time.Second, Store{Applied: 5})
	for range 3 {
		r.Sent(false)
		r.Called(Call{Code: codes.Unavailable})
	}
	// Three calls since half a second ago, not within half a millisecond.
	if s := r.Sample(time.Second+500*time.Microsecond, Store{Applied: 5}); s.FailedRate > 6 || s.OfferedRate > 6 || s.AppliedRate > 10 {
		t.Errorf("sample %+v", s)
	}
}

func TestCallsByKindAndReason(t *testing.T) {
	t.Parallel()
	r := New(Config{})
	for i := range 100 {
		r.Sent(false)
		r.Called(Call{Op: people.OpStart, Intended: time.Second, End: time.Second + time.Duration(i+1)*time.Millisecond})
	}
	r.Sent(false)
	r.Called(Call{Op: people.OpCheck, Code: codes.ResourceExhausted, Reason: "LIMIT_GLOBAL", End: time.Millisecond})
	for range 2 {
		r.Sent(false)
		r.Called(Call{Op: people.OpCheck, Code: codes.Internal})
	}
	a := r.Arm("x", nil)
	if len(a.Ops) != 2 || a.Ops[0].Op != "start" || a.Ops[0].Calls != 100 || a.Ops[1].Refused != 1 || a.Ops[1].Failed != 2 {
		t.Errorf("ops %+v", a.Ops)
	}
	if p99 := a.Ops[0].Latency.P99; p99 < 98_900 || p99 > 99_100 { // from the intended time, not from the sending
		t.Errorf("p99 %d µs, want 99 ms", p99)
	}
	if len(a.Reasons) != 2 || a.Reasons[0] != (Reason{"Internal", 2}) || a.Reasons[1] != (Reason{"LIMIT_GLOBAL", 1}) {
		t.Errorf("reasons %+v", a.Reasons)
	}
}

func TestTheOldestInside(t *testing.T) {
	t.Parallel()
	r := New(Config{})
	if s := r.Sample(time.Minute, Store{}); s.OldestS != 0 {
		t.Errorf("nobody is inside, the oldest for %v s", s.OldestS)
	}
	r.Oldest(10 * time.Second)
	if s := r.Sample(time.Minute, Store{}); s.OldestS != 50 {
		t.Errorf("the oldest for %v s, want 50", s.OldestS)
	}
}

func TestMemoryDoesNotGrowWithTheRun(t *testing.T) {
	t.Parallel()
	r := New(Config{Samples: 100})
	for i := range 100_000 {
		r.Came()
		r.Ended(people.Outcome{Person: uint64(i), Completed: true})
		r.Sample(time.Duration(i)*time.Second, Store{})
	}
	a := r.Arm("x", nil)
	if len(r.Outcomes()) != 0 || len(a.Samples) > 100 || len(a.Samples) < 50 || a.Completed != 100_000 {
		t.Errorf("%d outcomes, %d samples, %d completed", len(r.Outcomes()), len(a.Samples), a.Completed)
	}
	for i := 2; i < len(a.Samples); i++ {
		if a.Samples[i].Seconds-a.Samples[i-1].Seconds != a.Samples[1].Seconds-a.Samples[0].Seconds {
			t.Fatal("samples are not evenly spaced")
		}
	}
}

package measure

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/surgegate/surgegate/loadtest/people"
)

func TestArmAddsUp(t *testing.T) {
	t.Parallel()
	r := New()
	outcomes := []people.Outcome{
		{Person: 0, Accepted: true, Promised: true, Completed: true, Wait: time.Second},
		{Person: 1, Accepted: true, Promised: true, Completed: true, Wait: 3 * time.Second}, // told so, but not in the store
		{Person: 2, Accepted: true, GaveUp: true},                                           // in the store, but not told
		{Person: 3, Accepted: true, Promised: true},
		{Person: 4},
	}
	for _, o := range outcomes {
		r.Came()
		r.Ended(o)
	}
	for _, c := range []people.Call{{Code: codes.OK}, {Code: codes.Unavailable}, {Code: codes.Unavailable, FromAttack: true}} {
		r.Sent(c.Op, c.FromAttack)
		r.Called(c)
	}
	r.Sent(people.OpStart, false) // still inside
	r.Owes(2)
	s := r.Sample(2*time.Second, Store{Up: true, Applied: 10})
	if s.Backlog != 3 || s.OfferedRate != 2 || s.FailedRate != 0.5 || s.AppliedRate != 5 {
		t.Errorf("sample %+v", s)
	}
	a := r.Arm("x", Truth{Has: func(p uint64) bool { return p == 0 || p == 2 }, AppliedTwice: 1, Crashes: 2})
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
	r := New()
	r.Sample(500*time.Millisecond, Store{})
	r.Sample(time.Second, Store{Applied: 5})
	for range 3 {
		r.Sent(people.OpStart, false)
		r.Called(people.Call{Code: codes.Unavailable})
	}
	// Three calls since half a second ago, not within half a millisecond.
	if s := r.Sample(time.Second+500*time.Microsecond, Store{Applied: 5}); s.FailedRate > 6 || s.OfferedRate > 6 || s.AppliedRate > 10 {
		t.Errorf("sample %+v", s)
	}
}

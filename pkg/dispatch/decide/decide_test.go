package decide_test

import (
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/dispatch/decide"
)

func TestSizeFollowsTheBacklog(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ backlog, free, limit, want int }{
		{0, 4, 500, 1}, {1, 4, 500, 1}, {4, 4, 500, 1}, {5, 4, 500, 2}, {100, 4, 500, 25}, {100, 1, 500, 100},
		{100, 0, 500, 100}, {5000, 4, 500, 500}, {5000, 0, 1, 1}, {7, 0, 0, 1},
	} {
		if got := decide.Size(0).Want(tc.backlog, tc.free, tc.limit); got != tc.want {
			t.Errorf("%+v: asks for %d", tc, got)
		}
	}
	// Places are not counted: leases that bring nothing else grow until they reach a job.
	var s decide.Size
	for _, want := range []int{1, 2, 4, 8, 10, 10} {
		most := s.Want(1, 4, 10)
		if most != want {
			t.Errorf("asks for %d, not %d", most, want)
		}
		s.Leased(0, most)
	}
	s.Leased(1, 10)
	if most := s.Want(1, 4, 10); most != 1 {
		t.Errorf("asks for %d after a job", most)
	}
}

func TestBackoffStaysWithinItsCeiling(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		strain  int
		random  float64
		atLeast time.Duration
		atMost  time.Duration
	}{
		{0, 0, 1, 1}, {1, .999999, 99 * time.Millisecond, 100 * time.Millisecond},
		{3, .5, 200 * time.Millisecond, 200*time.Millisecond + 1}, {40, .999999, 4999 * time.Millisecond, 5 * time.Second},
	} {
		if got := decide.Overloaded(100*time.Millisecond, tc.strain, tc.random); got < tc.atLeast || got > tc.atMost {
			t.Errorf("%+v: %v", tc, got)
		}
	}
}

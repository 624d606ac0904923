package queue_test

import (
	"testing"

	"github.com/surgegate/surgegate/pkg/queue"
)

func TestCrowdHidesSingleJobs(t *testing.T) {
	t.Parallel()
	for n, want := range map[uint64]uint64{0: 0, 1: 0, 127: 0, 128: 128, 129: 256, 256: 256, 5000: 8192} {
		for _, s := range []queue.LaneStats{
			{Waiting: [3]uint64{n}}, {Waiting: [3]uint64{0, n, 1 << 40}}, {Leased: n, Parked: 1 << 40}, {Retrying: n},
		} {
			if got := s.Crowd(); got != want {
				t.Errorf("%+v: %d, not %d", s, got, want)
			}
		}
	}
}

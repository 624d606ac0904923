package app

import (
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/config"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// With the mail server out a few mails that wait must not raise the level; a crowd, or a few of another lane, do.
func TestFewMailsDoNotRaiseTheLevel(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	l := newLeveller(nil, clock.NewManual(now), config.Config{DataDir: t.TempDir()}, func() time.Duration { return 0 }, nil)
	for _, c := range []struct {
		lane reset.Lane
		n    uint64
		want time.Duration
	}{
		{reset.LaneMail, 1, 0}, {reset.LaneMail, queue.CrowdMin - 1, 0}, {reset.LaneMail, queue.CrowdMin, time.Hour},
		{reset.LaneStart, 1, time.Hour}, {reset.LaneApply, 1, time.Hour},
	} {
		stats := queue.Stats{Lanes: map[reset.Lane]queue.LaneStats{
			c.lane: {Waiting: [3]uint64{c.n}, OldestAccept: now.Add(-time.Hour)},
		}}
		if got := l.signals(now, stats).OldestInteractiveWait; got != c.want {
			t.Errorf("%d in %s: %v, not %v", c.n, c.lane, got, c.want)
		}
		// What is between tries is old for its own sake: it says nothing of what a newcomer would wait.
		stats.Lanes[c.lane] = queue.LaneStats{Retrying: c.n, OldestRetry: now.Add(-time.Hour)}
		if got := l.signals(now, stats).OldestInteractiveWait; got != 0 {
			t.Errorf("%d between tries in %s: %v", c.n, c.lane, got)
		}
	}
}

package gate

import (
	"time"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// Signals returns what the lanes tell the brownout ladder: how long the oldest jobs wait, as shares of their bounds, and how full the
// queue is.
func (c Config) Signals(stats queue.Stats, now time.Time) admission.Signals {
	var s admission.Signals
	for _, l := range [...]struct {
		lane  reset.Lane
		bound time.Duration
	}{
		{reset.LaneStart, c.MaxStartWait}, {reset.LaneMail, c.MaxStartWait},
		{reset.LaneHash, c.MaxSealedWait / 2}, {reset.LaneApply, c.MaxSealedWait / 2},
	} {
		oldest := stats.Lanes[l.lane].OldestAccept
		if oldest.IsZero() {
			continue
		}
		if l.lane == reset.LaneMail && stats.Lanes[l.lane].Crowd() == 0 {
			continue // only accounts get mails: a level that a few of them raise would show that they exist
		}
		wait := now.Sub(oldest)
		s.OldestInteractiveWait = max(s.OldestInteractiveWait, wait)
		s.WaitShare = max(s.WaitShare, float64(wait)/float64(l.bound))
	}
	if stats.MaxBytes > 0 {
		s.QueueFill = float64(stats.Bytes) / float64(stats.MaxBytes)
	}
	return s
}

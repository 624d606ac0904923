package pacelab

import (
	"math/rand/v2"

	"github.com/surgegate/surgegate/pkg/pace"
)

type breakerState uint8

const (
	closed breakerState = iota
	halfOpen
	open
)

// breakerModel is pkg/breaker with its defaults, without its clock: gobreaker reads the machine's, which stands still
// here. A test holds the two together.
type breakerModel struct {
	rand      *rand.Rand
	state     breakerState
	row       int // failures in a row while closed, successes in a row while half open
	window    [10]struct{ second, failures, total int }
	reopens   int
	until     float64 // open: when a probe may go out
	closedAt  float64
	probing   bool
	probeEnds float64
}

const (
	consecutive  = 10
	failureShare = .5
	minVolume    = 20
	openWait     = 1.0
	maxOpenWait  = 2.0
	probes       = 2
	calm         = 10.0
)

// allow tells whether a call may go out, as a probe, or how long to wait.
func (b *breakerModel) allow(now float64) (probe bool, wait float64) {
	if b.probing && now >= b.probeEnds {
		b.open(now)
	}
	switch {
	case b.state == closed:
		return false, 0
	case b.state == open && now < b.until:
		return false, b.until - now
	case b.probing:
		return false, b.probeEnds - now
	}
	if b.state == open {
		b.state, b.row = halfOpen, 0
	}
	b.probing, b.probeEnds = true, now+deadline+1
	return true, 0
}

func (b *breakerModel) open(now float64) {
	wait := openWait
	for i := 0; i < b.reopens && wait < maxOpenWait; i++ {
		wait *= 2
	}
	b.reopens++
	b.state, b.row, b.probing = open, 0, false
	b.until = now + min(wait, maxOpenWait)*(.8+.4*b.rand.Float64())
	b.window = [10]struct{ second, failures, total int }{}
}

func (b *breakerModel) report(now float64, probe bool, o pace.Outcome) {
	failed := o == pace.OutcomeOverload || o == pace.OutcomeTimeout
	switch {
	case o == pace.OutcomeCanceled:
		b.probing = b.probing && !probe
	case probe && b.state == halfOpen && b.probing:
		b.probing = false
		if failed {
			b.open(now)
		} else if b.row++; b.row == probes {
			b.state, b.row, b.closedAt = closed, 0, now
		}
	case !probe && b.state == closed:
		if now-b.closedAt >= calm {
			b.reopens = 0
		}
		b.count(now, failed)
	}
}

func (b *breakerModel) count(now float64, failed bool) {
	w := &b.window[int(now)%len(b.window)]
	if w.second != int(now) {
		w.second, w.failures, w.total = int(now), 0, 0
	}
	w.total++
	b.row++
	if !failed {
		b.row = 0
		return
	}
	w.failures++
	failures, total := 0, 0
	for _, w := range b.window {
		if w.second > int(now)-len(b.window) {
			failures, total = failures+w.failures, total+w.total
		}
	}
	if b.row >= consecutive || total >= minVolume && float64(failures) >= failureShare*float64(total) {
		b.open(now)
	}
}

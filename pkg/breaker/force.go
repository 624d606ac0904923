package breaker

import (
	"fmt"
	"time"
)

// Force is what an operator holds a Breaker at.
type Force uint8

// The forces.
const (
	ForceNone   Force = iota // the breaker decides
	ForceOpen                // nothing is sent
	ForceClosed              // it cannot trip
)

// String returns the word for it.
func (f Force) String() string {
	switch f {
	case ForceNone:
		return "auto"
	case ForceOpen:
		return "open"
	case ForceClosed:
		return "closed"
	default:
		return "unknown"
	}
}

// MarshalText implements encoding.TextMarshaler. The text is on disk.
func (f Force) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *Force) UnmarshalText(text []byte) error {
	for _, x := range []Force{ForceNone, ForceOpen, ForceClosed} {
		if string(text) == x.String() {
			*f = x
			return nil
		}
	}
	return fmt.Errorf("breaker: %.40q is not auto, open or closed", text)
}

// forcedRetry is what a call is told while the breaker is forced open: short, so that who waits by that time alone notices
// soon that it was lifted; one question in 2 s costs nothing.
const forcedRetry = 2 * time.Second

// Force holds the breaker open or closed, or lets go of it: see the package comment. It tells whether that closed it: calls
// go out again, and the caller has its pacer Resume.
func (b *Breaker) Force(now time.Time, f Force) (closed bool) {
	b.mu.Lock()
	defer b.unlock()
	b.advance(now)
	if f == b.forced {
		return false
	}
	before, state := b.forced, b.state
	b.forced, b.told = f, time.Time{}
	switch {
	case f == ForceOpen:
		b.open()
	case f == ForceClosed:
		b.close()
	case before == ForceOpen: // the next call is the probe
		b.until, b.reopens = b.now, 0
	default: // nothing that happened while it was held is held against the downstream
		b.renew()
		b.epoch++
		b.failed = 0
	}
	b.log.Warn("breaker forced", "downstream", b.config.Name, "from", before.String(), "to", f.String())
	return state != Closed && b.state == Closed
}

// Forced returns what the breaker is held at.
func (b *Breaker) Forced() Force {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.forced
}

// open opens it whatever it counted: with one failure, which trips a new one of gobreaker's while this is forced.
func (b *Breaker) open() {
	if b.state == Open {
		return
	}
	b.renew()
	if report, err := b.inner.Allow(); err == nil { // a new one refuses nothing
		report(errFailure)
	}
}

// close closes it whatever it counted.
func (b *Breaker) close() {
	if b.state == Closed {
		return
	}
	b.renew()
	b.enter(Closed)
}

// endure says, once a Window, that a breaker which is held closed would have opened.
func (b *Breaker) endure() {
	if !b.told.IsZero() && b.now.Sub(b.told) < b.config.Window {
		return
	}
	b.told = b.now
	b.log.Warn("breaker is held closed and would have opened", "downstream", b.config.Name, "failures_in_a_row", b.failed)
}

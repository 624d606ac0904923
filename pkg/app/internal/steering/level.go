package steering

import (
	"sync"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/steer"
)

// Level hands the ladder's level out, or the one that an override holds. Make it with NewLevel.
type Level struct {
	out []func(level int, cause admission.Cause)

	mu    sync.Mutex // held while handing out: what was handed out last is what holds
	asked int
	cause admission.Cause
	held  bool
	level int // in force
}

var _ steer.Brownout = (*Level)(nil)

// NewLevel returns a Level at 0 that hands out to these.
func NewLevel(out ...func(level int, cause admission.Cause)) *Level { return &Level{out: out} }

// Set takes what the ladder asks for.
func (l *Level) Set(level int, cause admission.Cause) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked, l.cause = level, cause
	if !l.held {
		l.hand(level, cause)
	}
}

// Force implements steer.Brownout.
func (l *Level) Force(level int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = true
	l.hand(level, admission.Cause{Words: "held by an operator's override"})
}

// Release implements steer.Brownout.
func (l *Level) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = false
	l.hand(l.asked, l.cause)
}

func (l *Level) hand(level int, cause admission.Cause) {
	l.level = level
	for _, out := range l.out {
		out(level, cause)
	}
}

// Level implements steer.Brownout.
func (l *Level) Level() (level int, held bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.level, l.held
}

// Asked implements steer.Brownout.
func (l *Level) Asked() (level int, cause string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked, l.cause.Words
}

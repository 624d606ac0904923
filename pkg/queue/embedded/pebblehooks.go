package embedded

import (
	"fmt"
	"runtime"

	"github.com/cockroachdb/pebble/v2"
)

// pebbleLog is Engine as Pebble's logger.
type pebbleLog Engine

func (*pebbleLog) Infof(string, ...any) {}

func (l *pebbleLog) Errorf(format string, args ...any) {
	l.deps.Logger.Error("queue: pebble: " + fmt.Sprintf(format, args...))
}

// Fatalf fails the engine and ends the calling goroutine, because Pebble does not expect Fatalf to return.
func (l *pebbleLog) Fatalf(format string, args ...any) {
	(*Engine)(l).fail(fmt.Errorf("pebble: "+format, args...))
	runtime.Goexit()
}

// events returns the listener for errors of Pebble's background work. Pebble itself retries flushes and compactions, whose
// input is still there. It reports failed commits, WAL writes and manifest writes through Fatalf, which fails the engine.
func (e *Engine) events() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: e.backgroundError,
		// Without this hook Pebble calls Fatalf, with pages of stack traces.
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			e.fail(fmt.Errorf("pebble: %s: %w", i.Path, i.Details))
		},
	}
}

// backgroundError logs at most one line a second. Pebble retries without a pause; 500 errors a second have been seen.
func (e *Engine) backgroundError(err error) {
	now := e.deps.Clock.Now().Unix()
	if last := e.lastBackgroundLog.Load(); last == now || !e.lastBackgroundLog.CompareAndSwap(last, now) {
		e.suppressedErrors.Add(1)
		return
	}
	// As text: slog prints errors with %+v, and Pebble's then bring pages of stack traces.
	e.deps.Logger.Error("queue: pebble background", "error", err.Error(), "suppressed", e.suppressedErrors.Swap(0))
}

package top

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/surgegate/surgegate/internal/screen"
)

// RunOnTerminal is Run with the keys and the size of the process's terminal. Where it has no keys (its input is elsewhere)
// the view goes on without them.
func (t *Top) RunOnTerminal(ctx context.Context) error {
	if keys, err := screen.OpenKeys(); err == nil {
		defer func() { _ = keys.Close() }()
		t.deps.Keys = keys.C()
	}
	sizes := make(chan os.Signal, 1) // one that is not taken yet says it all: Size is asked anew
	signal.Notify(sizes, syscall.SIGWINCH)
	defer signal.Stop(sizes)
	t.deps.Resized = sizes
	return t.Run(ctx)
}

package victim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
)

// ExitOutOfMemory is how the process ends past its memory bound: as after SIGKILL by the kernel's out-of-memory killer.
const ExitOutOfMemory = 137

const statusEvery = 200 * time.Millisecond

// Status is what goes on inside a victim, told five times a second.
type Status struct {
	Up      bool  `json:"up"`
	Cold    bool  `json:"cold"`
	Inside  int64 `json:"inside"` // items in line or being worked on
	Bytes   int64 `json:"bytes"`  // that they hold
	Applied int64 `json:"applied"`
	Lookups int64 `json:"lookups"`
	Crashes int   `json:"crashes"` // filled in by the supervisor
}

// Tell writes the status as JSON lines until ctx ends or the reader is gone.
func (v *Victim) Tell(ctx context.Context, w io.Writer) error {
	enc := json.NewEncoder(w)
	for {
		if err := enc.Encode(v.Status()); err != nil {
			if ctx.Err() != nil {
				return nil // the parent went first
			}
			return fmt.Errorf("victim: status: %w", err)
		}
		if err := v.clock.Sleep(ctx, statusEvery); err != nil {
			return nil //nolint:nilerr // the run is over
		}
	}
}

// RunChild is the whole of the victim's process: it serves, tells its status on out, and ends when its parent closes in.
func RunChild(ctx context.Context, cfg Config, in io.Reader, out io.Writer, die func()) error {
	v, err := New(cfg, Deps{Clock: clock.System{}, Die: die})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with the process: a read of stdin cannot be interrupted
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	told := make(chan error, 1)
	go func() {
		defer cancel() // nobody listens any more
		told <- v.Tell(ctx, out)
	}()
	err = v.Run(ctx)
	cancel()
	return errors.Join(err, <-told)
}

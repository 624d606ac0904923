package testbed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
)

const lookEvery = 100 * time.Millisecond

// Watcher reads a maildir as mails come.
type Watcher struct {
	dir    string
	clock  clock.Clock
	log    *slog.Logger
	links  atomic.Int64
	others atomic.Int64
}

// NewWatcher makes the maildir if it is not there; Run looks.
func NewWatcher(dir string, c clock.Clock, log *slog.Logger) (*Watcher, error) {
	if err := CreateMaildir(dir); err != nil {
		return nil, err
	}
	return &Watcher{dir: dir, clock: c, log: log}, nil
}

// Links returns the number of mails with a link that have come.
func (w *Watcher) Links() int64 { return w.links.Load() }

// Others returns the number of mails without a link that have come.
func (w *Watcher) Others() int64 { return w.others.Load() }

// Run looks until ctx ends, and delivers each link; in the order of coming, as far as the folder tells.
func (w *Watcher) Run(ctx context.Context, deliver Deliverer) error {
	for {
		if err := w.look(deliver); err != nil {
			return err
		}
		if err := w.clock.Sleep(ctx, lookEvery); err != nil {
			return nil // the run is over
		}
	}
}

func (w *Watcher) look(deliver Deliverer) error {
	dir, err := os.Open(filepath.Join(w.dir, "new"))
	if err != nil {
		return fmt.Errorf("testbed: %w", err)
	}
	names, err := dir.Readdirnames(-1)
	if err := errors.Join(err, dir.Close()); err != nil {
		return fmt.Errorf("testbed: %w", err)
	}
	for _, name := range names {
		if err := w.read(name, deliver); err != nil {
			return err
		}
	}
	return nil
}

func (w *Watcher) read(name string, deliver Deliverer) error {
	// Out of new/ first, as mail programs do: a gateway that delivers the same mail again then makes a second one.
	path := filepath.Join(w.dir, "cur", name+":2,S")
	if err := os.Rename(filepath.Join(w.dir, "new", name), path); err != nil {
		return fmt.Errorf("testbed: %w", err)
	}
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("testbed: %w", err)
	}
	to, token, err := parse(file)
	if err := errors.Join(err, file.Close()); err != nil {
		w.log.Warn("a mail that cannot be read", "file", path, "error", err)
		return nil
	}
	if token == "" {
		w.others.Add(1)
		return nil
	}
	w.links.Add(1)
	deliver(to, token)
	return nil
}

package top

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/surgegate/surgegate/internal/screen"
	"github.com/surgegate/surgegate/pkg/clock"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

var (
	errSilent = errors.New("it does not say anything any more: the machine or the network is gone, or far too busy")
	errEnded  = errors.New("it ended the connection: it is shutting down or starting again")
)

// Config of a Top.
type Config struct {
	Address  string        // as the title tells it; required
	Interval time.Duration // between two statuses, 250 ms to 1 min. Default 1 s
	NoColor  bool
}

// WithDefaults fills zero fields.
func (c Config) WithDefaults() Config {
	if c.Interval == 0 {
		c.Interval = time.Second
	}
	return c
}

// Validate names the field that makes no sense.
func (c Config) Validate() error {
	if c.Address == "" {
		return errors.New("address: is missing")
	}
	if c.Interval < 250*time.Millisecond || c.Interval > time.Minute {
		return fmt.Errorf("interval: %s is not between 250ms and 1m", c.Interval)
	}
	return nil
}

// Deps are what a Top works with.
type Deps struct {
	Client operatorv1.OperatorClient // required
	Clock  clock.Clock               // required
	Out    io.Writer                 // required
	// Explain turns an error of a call into words; required.
	Explain func(error) error
	// Size tells columns and rows; absent: Out is no terminal, and Line writes each status.
	Size func() (columns, rows int, ok bool)
	// Keys deliver what is typed; may be absent, and then only the context ends it.
	Keys <-chan byte
	// Resized tells that Size says something else; may be absent.
	Resized <-chan os.Signal
	// Line writes one status where there is no terminal. Default: a line of text.
	Line func(io.Writer, *operatorv1.GetStatusResponse) error
}

// Top is one view. It is run once.
type Top struct {
	cfg    Config
	deps   Deps
	screen *screen.Screen

	status  *operatorv1.GetStatusResponse // the last that came
	shown   *operatorv1.GetStatusResponse // what is on the screen: the last, or that of when it was frozen
	history history
	section section
	frozen  bool
	lost    error     // why there is no answer; nil while live
	heard   time.Time // when the last status came
}

// New makes a Top.
func New(cfg Config, deps Deps) (*Top, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Client == nil || deps.Clock == nil || deps.Out == nil || deps.Explain == nil {
		return nil, errors.New("top: Client, Clock, Out or Explain is missing")
	}
	if deps.Line == nil {
		deps.Line = plainLine
	}
	return &Top{cfg: cfg, deps: deps, screen: screen.New(deps.Out)}, nil
}

// Run shows until ctx ends or somebody quits, and gives the terminal back. Where there is no terminal it also ends with an
// error of Out, because whoever read it is gone.
func (t *Top) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	w := &watcher{client: t.deps.Client, clock: t.deps.Clock, interval: t.cfg.Interval, events: make(chan event, 1)}
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watching.Go(func() { w.run(ctx) })
	defer t.screen.Close(nil)
	for {
		// What is told of an outage has the time in it, so it is painted again while nothing comes.
		repaint := t.deps.Clock.NewTimer(time.Second)
		done, err := t.step(ctx, w.events, repaint.C())
		repaint.Stop()
		if done || err != nil {
			return err
		}
	}
}

// step waits for one thing and shows what came of it.
func (t *Top) step(ctx context.Context, events <-chan event, repaint <-chan time.Time) (done bool, err error) {
	select {
	case <-ctx.Done():
		return true, nil
	case e := <-events:
		return false, t.take(e)
	case key, ok := <-t.deps.Keys:
		if !ok {
			t.deps.Keys = nil // the terminal is gone, or there never was one
			return false, nil
		}
		if t.key(key) {
			return true, nil
		}
	case <-t.deps.Resized:
	case <-repaint:
		if t.lost == nil {
			return false, nil
		}
	}
	t.paint()
	return false, nil
}

func (t *Top) take(e event) error {
	if e.err != nil {
		err := t.deps.Explain(e.err)
		if t.status == nil {
			return err
		}
		repeated := t.lost != nil && t.lost.Error() == err.Error()
		t.lost = err
		if !t.live() && !repeated {
			_, err := fmt.Fprintf(t.deps.Out, "%s  no answer: %v; trying again\n", t.deps.Clock.Now().UTC().Format(time.TimeOnly), t.lost)
			return err
		}
		t.paint()
		return nil
	}
	t.status, t.lost, t.heard = e.status, nil, t.deps.Clock.Now()
	t.history.add(e.status)
	if !t.live() {
		return t.deps.Line(t.deps.Out, e.status)
	}
	if !t.frozen {
		t.shown = e.status
	}
	t.paint()
	return nil
}

// key tells whether it is the end.
func (t *Top) key(key byte) (quit bool) {
	switch key {
	case 'q', 'Q', screen.CtrlC:
		return true
	case 'p', 'P', ' ':
		t.frozen = !t.frozen
		if !t.frozen && t.status != nil {
			t.shown = t.status
		}
	case screen.Tab:
		t.section = (t.section + 1) % sections
	}
	return false
}

func (t *Top) live() bool { return t.deps.Size != nil }

func (t *Top) paint() {
	if !t.live() || t.shown == nil {
		return
	}
	columns, rows, ok := t.deps.Size()
	if !ok {
		return // the terminal is gone; its hang-up ends the program
	}
	t.screen.Paint(t.frame(max(1, columns-1), max(1, rows)))
}

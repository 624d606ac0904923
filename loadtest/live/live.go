package live

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"

	"github.com/surgegate/surgegate/loadtest/measure"
	"github.com/surgegate/surgegate/loadtest/threshold"
)

const (
	plainEvery = 5    // seconds between two lines where there is no terminal
	maxPoints  = 1024 // of each row's line; more than terminals have columns

	otherScreen, firstScreen = "\x1b[?1049h", "\x1b[?1049l"
	hideCursor, showCursor   = "\x1b[?25l", "\x1b[?25h"
	noWrap, wrap             = "\x1b[?7l", "\x1b[?7h"
	clearLine, clearBelow    = "\x1b[K", "\x1b[J"
	clearAll                 = "\x1b[2J"
)

// Config of a View.
type Config struct {
	Out io.Writer // required
	// Terminal tells how many columns Out has; false: it is no terminal. Default: never one.
	Terminal func() (width int, ok bool)
	Title    string
	People   int  // who will come; 0: not known
	NoColor  bool // default: whether the environment has NO_COLOR
}

// WithDefaults fills zero fields.
func (c Config) WithDefaults() Config {
	if c.Terminal == nil {
		c.Terminal = func() (int, bool) { return 0, false }
	}
	if os.Getenv("NO_COLOR") != "" {
		c.NoColor = true
	}
	return c
}

// Validate names the field that makes no sense.
func (c Config) Validate() error {
	if c.Out == nil {
		return errors.New("live: Out is missing")
	}
	if c.People < 0 {
		return fmt.Errorf("live: People is %d; it may not be below 0", c.People)
	}
	return nil
}

// View shows one run. It is used by one goroutine at a time.
type View struct {
	cfg    Config
	points []point
	per    int // samples in a point
	in     int // samples in the last point
	before measure.Sample
	now    point

	inside   bool // the other screen
	verdicts []threshold.Verdict

	nextLine float64 // second at which the next plain line is due
	unsaid   string  // the plain line of the last sample, if it was not written
}

// New makes a View; where there is no terminal its title is written at once.
func New(cfg Config) (*View, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	v := &View{cfg: cfg, per: 1, nextLine: plainEvery}
	if _, ok := cfg.Terminal(); !ok && cfg.Title != "" {
		v.write("\n" + cfg.Title + "\n")
	}
	return v, nil
}

// Show shows one moment, with what the thresholds would say of the run so far.
func (v *View) Show(s measure.Sample, verdicts []threshold.Verdict) {
	v.now = v.pointOf(s)
	v.keep(v.now)
	v.before, v.verdicts = s, verdicts
	if width, ok := v.cfg.Terminal(); ok {
		v.paint(v.frame(s, verdicts, max(width-1, 1)))
		return
	}
	v.unsaid = plainLine(s, verdicts)
	if s.Seconds >= v.nextLine {
		v.nextLine = plainEvery * (math.Floor(s.Seconds/plainEvery) + 1)
		v.flush()
	}
}

// Close gives the terminal back as it was, with the last moment on it. It may be called again.
func (v *View) Close() {
	if v.inside {
		v.inside = false
		width, _ := v.cfg.Terminal()
		// Some terminals keep what of the other screen does not fit when they leave it: it is emptied before.
		v.write(wrap + clearAll + firstScreen + showCursor + strings.Join(v.frame(v.before, v.verdicts, max(width-1, 1)), "\n") + "\n")
	}
	v.flush()
}

func (v *View) flush() {
	if v.unsaid != "" {
		v.write(v.unsaid)
		v.unsaid = ""
	}
}

func (v *View) write(text string) { _, _ = io.WriteString(v.cfg.Out, text) }

// paint writes the frame over the one before it, in one write so that it does not flicker.
func (v *View) paint(lines []string) {
	var b strings.Builder
	if !v.inside {
		b.WriteString(otherScreen + hideCursor + noWrap)
		v.inside = true
	}
	for i, line := range lines {
		fmt.Fprintf(&b, "\x1b[%d;1H%s%s", i+1, line, clearLine)
	}
	b.WriteString(clearBelow)
	v.write(b.String())
}

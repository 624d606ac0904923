package report

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/surgegate/surgegate/internal/screen"
	"github.com/surgegate/surgegate/loadtest/measure"
)

const (
	plainEvery = 5    // seconds between two lines where there is no terminal
	maxPoints  = 1024 // of each row's line; more than terminals have columns
)

// LiveConfig says where a LiveView writes.
type LiveConfig struct {
	Out io.Writer // required
	// Terminal tells how many columns Out has; false: it is no terminal. Default: never one.
	Terminal func() (width int, ok bool)
	Title    string
	People   int  // who will come; 0: not known
	NoColor  bool // default: whether the environment has NO_COLOR
}

// WithDefaults returns the config with its zero fields set.
func (c LiveConfig) WithDefaults() LiveConfig {
	if c.Terminal == nil {
		c.Terminal = func() (int, bool) { return 0, false }
	}
	if os.Getenv("NO_COLOR") != "" {
		c.NoColor = true
	}
	return c
}

// Validate names the field that makes no sense.
func (c LiveConfig) Validate() error {
	if c.Out == nil {
		return errors.New("live: Out is missing")
	}
	if c.People < 0 {
		return fmt.Errorf("live: People is %d; it may not be below 0", c.People)
	}
	return nil
}

// LiveView shows a run while it lasts: on a terminal a block that is painted over, elsewhere a line every 5 s without escape codes. It is
// used by one goroutine at a time.
//
// A row's sparkline covers the whole run: once there are more samples than columns, a column is the highest of its samples, so that
// no peak is lost. Memory does not grow with the run. Errors of the output are dropped: a terminal that is gone is no reason to stop
// a run. With NO_COLOR in the environment there are no colours.
type LiveView struct {
	cfg    LiveConfig
	points []point
	per    int // samples in a point
	in     int // samples in the last point
	before measure.Sample
	now    point

	screen   *screen.Screen
	verdicts []measure.Verdict

	nextLine float64 // second at which the next plain line is due
	unsaid   string  // the plain line of the last sample, if it was not written
}

// NewLive returns a LiveView. Without a terminal it writes the title at once.
func NewLive(cfg LiveConfig) (*LiveView, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	v := &LiveView{cfg: cfg, per: 1, nextLine: plainEvery, screen: screen.New(cfg.Out)}
	if _, ok := cfg.Terminal(); !ok && cfg.Title != "" {
		v.write("\n" + cfg.Title + "\n")
	}
	return v, nil
}

// Show shows one moment, with what the thresholds would say of the run so far.
func (v *LiveView) Show(s measure.Sample, verdicts []measure.Verdict) {
	v.now = v.pointOf(s)
	v.keep(v.now)
	v.before, v.verdicts = s, verdicts
	if width, ok := v.cfg.Terminal(); ok {
		v.screen.Paint(v.frame(s, verdicts, max(width-1, 1)))
		return
	}
	v.unsaid = plainLine(s, verdicts)
	if s.Seconds >= v.nextLine {
		v.nextLine = plainEvery * (math.Floor(s.Seconds/plainEvery) + 1)
		v.flush()
	}
}

// Close gives the terminal back as it was, with the last moment on it. It may be called again.
func (v *LiveView) Close() {
	width, _ := v.cfg.Terminal()
	v.screen.Close(v.frame(v.before, v.verdicts, max(width-1, 1)))
	v.flush()
}

func (v *LiveView) flush() {
	if v.unsaid != "" {
		v.write(v.unsaid)
		v.unsaid = ""
	}
}

func (v *LiveView) write(text string) { _, _ = io.WriteString(v.cfg.Out, text) }

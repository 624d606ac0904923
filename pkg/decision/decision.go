package decision

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
)

// Reason is what kind of decision it was.
type Reason string

// The reasons: see the package comment.
const (
	Shed     Reason = "shed"
	Limited  Reason = "limited"
	Refused  Reason = "refused"
	Paced    Reason = "paced"
	Levelled Reason = "levelled"
	Parked   Reason = "parked"
	Breaker  Reason = "breaker"
)

// Reasons returns all of them.
func Reasons() []Reason { return []Reason{Shed, Limited, Refused, Paced, Levelled, Parked, Breaker} }

// always are logged whatever is asked for.
func always() []Reason { return []Reason{Levelled, Parked, Breaker} }

// Config says what is logged. Zero fields mean the defaults named here.
type Config struct {
	// Reasons that are logged. Default: levelled, parked and breaker, which are in any case.
	Reasons []Reason
	// Every is the least time between two lines of one cause. Default 1 s.
	Every time.Duration
}

// WithDefaults returns the config with its zero fields filled in.
func (c Config) WithDefaults() Config {
	if c.Reasons == nil {
		c.Reasons = always()
	}
	if c.Every == 0 {
		c.Every = time.Second
	}
	return c
}

// Validate names the field that is wrong. Zero fields are right.
func (c Config) Validate() error {
	for _, r := range c.Reasons {
		if !slices.Contains(Reasons(), r) {
			return fmt.Errorf("reasons: %q is unknown: write %s", r, names())
		}
	}
	if c.Every < 0 {
		return fmt.Errorf("every: %v is negative", c.Every)
	}
	return nil
}

func names() string {
	all := make([]string, 0, len(Reasons()))
	for _, r := range Reasons() {
		all = append(all, string(r))
	}
	return strings.Join(all[:len(all)-1], ", ") + " or " + all[len(all)-1]
}

// Deps of a Log. Logger must be set.
type Deps struct {
	Logger *slog.Logger
	Clock  clock.Clock // default: the machine's
}

// Log makes Lines. A nil *Log makes none.
type Log struct {
	cfg   Config
	log   *slog.Logger
	clock clock.Clock
}

// New returns a log. Errors are Config.Validate's.
func New(cfg Config, d Deps) (*Log, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("decision: %w", err)
	}
	if d.Logger == nil {
		return nil, errors.New("decision: Deps.Logger is missing")
	}
	if d.Clock == nil {
		d.Clock = clock.System{}
	}
	return &Log{cfg: cfg.WithDefaults(), log: d.Logger, clock: d.Clock}, nil
}

// On tells whether decisions of the reason are logged.
func (l *Log) On(r Reason) bool {
	return l != nil && (slices.Contains(l.cfg.Reasons, r) || slices.Contains(always(), r))
}

// Line is how decisions of one reason and cause are logged; nil where they are not. The cause is of a closed set.
func (l *Log) Line(r Reason, cause string) *Line {
	if !l.On(r) {
		return nil
	}
	line := &Line{log: l, reason: r, cause: cause}
	if slices.Contains(always(), r) {
		line.level = slog.LevelWarn
	}
	return line
}

// Line logs the decisions of one cause. A nil *Line logs none. It is safe for concurrent use.
type Line struct {
	log    *Log
	reason Reason
	cause  string
	level  slog.Level
	last   atomic.Int64 // ns
	left   atomic.Int64 // since then
}

// Due tells whether the decision that was just made is to be written, and counts it as left out if not. Ask before its numbers
// are looked up.
func (l *Line) Due() bool {
	if l == nil {
		return false
	}
	now := l.log.clock.Now().UnixNano()
	last := l.last.Load()
	// Far under 0 where the clock was set back: written, or it would be silent until the old time. A little under it is another
	// call's, a moment ago.
	since, every := now-last, l.log.cfg.Every.Nanoseconds()
	if last != 0 && since > -every && since < every || !l.last.CompareAndSwap(last, now) {
		l.left.Add(1)
		return false
	}
	return true
}

// Write writes the decision that Due said yes to. ctx lends the line its trace, if it has one.
func (l *Line) Write(ctx context.Context, numbers ...slog.Attr) {
	attrs := make([]slog.Attr, 0, len(numbers)+3)
	attrs = append(attrs, slog.String("reason", string(l.reason)), slog.String("cause", l.cause))
	attrs = append(append(attrs, numbers...), slog.Int64("left_out", l.left.Swap(0)))
	l.log.log.LogAttrs(ctx, l.level, "decision: "+string(l.reason), attrs...)
}

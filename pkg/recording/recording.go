package recording

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/stormtrace"
)

// Config of a recording.
type Config struct {
	// Path of the file to make; required. {time} in it becomes the moment of the start, so that a gateway that is started
	// again records into another file.
	Path string
	// MinFree is how many bytes of its disk a recording leaves to others: below it ends. Default 1 GiB; below 0: none.
	MinFree int64
}

// WithDefaults fills zero fields.
func (c Config) WithDefaults() Config {
	if c.MinFree == 0 {
		c.MinFree = 1 << 30
	}
	return c
}

// Validate names the field that is wrong.
func (c Config) Validate() error {
	if c.Path == "" {
		return errors.New("recording: Path is missing")
	}
	return nil
}

// Deps of a recording. A zero Clock means the machine's, a zero Logger none; Registerer is required.
type Deps struct {
	Clock      clock.Clock
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Call is one that has arrived.
type Call struct {
	At       time.Time
	Op       stormtrace.Op
	Key      string        // whom it names
	Attempt  uint32        // attempts before this one, as the caller's library says
	Deadline time.Duration // that is left; 0: none
}

const (
	// waiting calls: at 20,000 a second 400 ms, of which the goroutine needs one or two.
	waiting = 8192
	// sortFor is how long a call may be overtaken on its way to the channel.
	sortFor    = time.Second
	flushEvery = time.Second
	// remembered people of each of two sets.
	remembered = 250_000
	turn       = time.Minute
)

// Recording is one under way. Make it with New, and Close it.
type Recording struct {
	clock   clock.Clock
	log     *slog.Logger
	writer  *stormtrace.Writer
	folder  string
	minFree int64
	start   time.Time
	key     []byte
	calls   chan Call
	stop    chan struct{}
	once    sync.Once
	done    sync.WaitGroup
	events  prometheus.Counter
	dropped prometheus.Counter

	// What follows belongs to the goroutine.
	held    []stormtrace.Event
	room    int // held at which they are written before the second is over
	last    int64
	now     map[uint64]struct{} // who asked lately
	before  map[uint64]struct{} // and in the turn before
	turned  time.Time
	failure error // that has been logged
	closing error
}

// ErrNoRoom is a disk that others need.
var ErrNoRoom = errors.New("recording: no room")

// New makes the file and begins. A file that is there is an error.
func New(cfg Config, deps Deps) (*Recording, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Registerer == nil {
		return nil, errors.New("recording: Registerer is missing")
	}
	if deps.Clock == nil {
		deps.Clock = clock.System{}
	}
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Recording{
		clock: deps.Clock, log: deps.Logger, start: deps.Clock.Now(), key: make([]byte, sha256.Size),
		calls: make(chan Call, waiting), stop: make(chan struct{}), now: map[uint64]struct{}{}, room: waiting,
		events: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "surgegate_record_events_total", Help: "Calls written to the trace that serve --record makes.",
		}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "surgegate_record_dropped_total", Help: "Calls that serve --record left out: it was behind, or its disk failed.",
		}),
	}
	r.turned = r.start
	_, _ = rand.Read(r.key) // never fails
	var err error
	path := strings.ReplaceAll(cfg.Path, "{time}", r.start.UTC().Format("20060102T150405.000000Z"))
	r.folder, r.minFree = filepath.Dir(path), cfg.MinFree
	if err := r.roomy(); err != nil {
		return nil, err
	}
	if r.writer, err = stormtrace.Create(path, stormtrace.Header{T0: r.start, ID: "hmac"}); err != nil {
		return nil, err
	}
	if err := errors.Join(r.writer.Flush(), deps.Registerer.Register(r.events), deps.Registerer.Register(r.dropped)); err != nil {
		return nil, errors.Join(err, r.writer.Close())
	}
	r.done.Go(r.run)
	return r, nil
}

// Observe hears of a call. It never waits, and may be called from any goroutine until Close.
func (r *Recording) Observe(c Call) {
	select {
	case r.calls <- c:
	default:
		r.dropped.Inc()
	}
}

// Close writes what came before and closes the file. That a recording had ended earlier is no error any more: it was logged.
func (r *Recording) Close() error {
	r.once.Do(func() { close(r.stop) })
	r.done.Wait()
	return r.closing
}

func (r *Recording) run() {
	tick := r.clock.NewTimer(flushEvery)
	defer tick.Stop()
	for {
		select {
		case c := <-r.calls:
			r.take(c)
		case <-tick.C():
			r.write(r.clock.Now().Add(-sortFor).Sub(r.start).Microseconds())
			r.fail(r.roomy)
			r.fail(r.writer.Flush)
			tick.Reset(flushEvery)
		case <-r.stop:
			for len(r.calls) > 0 {
				r.take(<-r.calls)
			}
			r.write(1 << 62)
			if err := r.writer.Close(); r.failure == nil {
				r.closing = err
			}
			return
		}
	}
}

// roomy is an error when the disk is needed by others: the queue lives on it.
func (r *Recording) roomy() error {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(r.folder, &stat); err != nil {
		return fmt.Errorf("recording: %s: %w", r.folder, err)
	}
	if free := int64(stat.Bavail) * stat.Bsize; free < r.minFree {
		return fmt.Errorf("%w: %d MiB are free at %s, and a recording leaves %d to the queue; record to another disk", ErrNoRoom, free>>20, r.folder, r.minFree>>20)
	}
	return nil
}

// take makes an event of a call.
func (r *Recording) take(c Call) {
	if r.failure != nil {
		r.dropped.Inc()
		return
	}
	e := stormtrace.Event{
		T: max(0, c.At.Sub(r.start).Microseconds()), U: r.number(c.Key), Op: c.Op, Cause: stormtrace.Endogenous, Attempt: c.Attempt,
		Deadline: max(0, (c.Deadline + time.Millisecond - 1).Truncate(time.Millisecond)), // 0 would mean none
	}
	if c.Op == stormtrace.OpStart && !r.again(e.U, c.At) && c.Attempt == 0 {
		e.Cause = stormtrace.Exogenous
	}
	r.held = append(r.held, e)
	if len(r.held) >= r.room {
		r.write(c.At.Add(-sortFor).Sub(r.start).Microseconds())
		r.room = len(r.held) + waiting // of which a second's calls stay: else each further one would sort them all
	}
}

func (r *Recording) number(key string) uint64 {
	mac := hmac.New(sha256.New, r.key)
	mac.Write([]byte(key))
	return binary.BigEndian.Uint64(mac.Sum(nil))
}

// again tells whether the person asked lately, and remembers that they have now.
func (r *Recording) again(u uint64, at time.Time) bool {
	if since := at.Sub(r.turned); since > turn || len(r.now) >= remembered {
		r.before, r.now, r.turned = r.now, make(map[uint64]struct{}), at
		if since > 2*turn {
			r.before = nil
		}
	}
	_, now := r.now[u]
	_, before := r.before[u]
	r.now[u] = struct{}{}
	return now || before
}

// write sorts what is held and writes it up to a time.
func (r *Recording) write(until int64) {
	slices.SortStableFunc(r.held, func(a, b stormtrace.Event) int { return cmp.Compare(a.T, b.T) })
	n := 0
	for ; n < len(r.held) && r.held[n].T <= until; n++ {
		e := &r.held[n]
		e.T = max(e.T, r.last)
		r.last = e.T
		if r.fail(func() error { return r.writer.Write(e) }) {
			r.events.Inc()
		} else {
			r.dropped.Inc()
		}
	}
	r.held = append(r.held[:0], r.held[n:]...)
}

// fail does something to the file, unless that has failed before; false: it has, or did.
func (r *Recording) fail(do func() error) bool {
	if r.failure != nil {
		return false
	}
	if r.failure = do(); r.failure != nil {
		r.log.Error("recording has ended: the trace cannot be written; the gateway goes on without", "error", r.failure.Error())
		return false
	}
	return true
}

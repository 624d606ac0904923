package stormlog

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
)

// RecorderConfig configures a Recorder.
type RecorderConfig struct {
	// Path is the file to create. Required. {time} in it becomes the time at which the recording starts, so that a
	// gateway that is restarted records to another file.
	Path string
	// MinFree is the free space in bytes that the recording leaves on its disk. The recording stops when less is free.
	// 0 means 1 GiB; a negative value means no limit.
	MinFree int64
}

// WithDefaults returns the config with its zero fields set.
func (c RecorderConfig) WithDefaults() RecorderConfig {
	if c.MinFree == 0 {
		c.MinFree = 1 << 30
	}
	return c
}

// Validate names the field that is wrong.
func (c RecorderConfig) Validate() error {
	if c.Path == "" {
		return errors.New("stormlog: Path is missing: name the file to record to")
	}
	return nil
}

// RecorderDeps are what a Recorder uses. A nil Clock means the system clock, a nil Logger means silence. Registerer is
// required.
type RecorderDeps struct {
	Clock      clock.Clock
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Call is one call that a gateway received.
type Call struct {
	At       time.Time
	Op       Op
	Key      string        // what identifies the person; only its keyed hash is written
	Attempt  uint32        // earlier attempts, as the caller's gRPC library reports them
	Deadline time.Duration // time left; 0: no deadline
}

const (
	// channelCalls is the capacity of the channel: 400 ms of calls at 20,000 calls/s.
	channelCalls = 8192
	// sortWindow is how much later than a call another one may reach the channel and still be sorted before it.
	sortWindow = time.Second
	flushEvery = time.Second
	// maxRecentPeople bounds each of the two sets of people who asked recently. One entry takes 16 bytes.
	maxRecentPeople = 250_000
	// recentPeriod is how long one set of recent people is filled.
	recentPeriod = time.Minute
)

// Recorder writes the calls of a gateway to a storm log. Make it with NewRecorder and Close it.
//
// It writes neither identifiers, addresses, tokens nor passwords. A person becomes the first 64 bits of an HMAC-SHA-256
// over Call.Key. The HMAC key is random and exists only in memory, so two recordings cannot be compared. A start is keyed
// by its identifier, a check and a completion by the account in the token, and a ticket by its id. So one person has
// different pseudonyms in a start and in its completion.
//
// Checks, completions and tickets are endogenous. A start is exogenous unless the same person has asked in the last one
// to two minutes or the caller's library reports a retry. After 250,000 people in that time, a repeat may be recorded as
// exogenous. The log does not show which calls come from bots or share an address; a replay treats every pseudonym as a
// person, and of a client in a loop it replays the first call only.
//
// Calls that reach the Recorder up to a second out of order are sorted. A later one gets the time of the event written
// last.
//
// When the channel is full, a call is dropped and counted. When the file cannot be written, or less than MinFree is free,
// the recording ends: the Recorder logs the error once and counts every later call as dropped. The gateway goes on. After
// kill -9 the file holds all but the last one or two seconds.
type Recorder struct {
	clock   clock.Clock
	log     *slog.Logger
	writer  *Writer
	folder  string
	minFree int64
	start   time.Time
	key     []byte // of the HMAC
	calls   chan Call
	stop    chan struct{}
	once    sync.Once
	done    sync.WaitGroup
	events  prometheus.Counter
	dropped prometheus.Counter

	// Only the goroutine of run uses the fields below.

	unsorted   []Event             // events that a later call may still have to be sorted before
	writeAt    int                 // the length of unsorted at which events are written before the next tick
	lastTime   int64               // T of the last event written
	recent     map[uint64]struct{} // people who asked since recentFrom
	older      map[uint64]struct{} // people who asked in the period before
	recentFrom time.Time
	failure    error // the error that ended the recording; it has been logged
	closeErr   error
}

// ErrNoRoom says that the disk has less than RecorderConfig.MinFree left.
var ErrNoRoom = errors.New("stormlog: not enough free disk space")

// NewRecorder creates the file and starts the Recorder's goroutine, which Close stops. An existing file is an error. It
// fails with ErrNoRoom when less than MinFree is free.
func NewRecorder(cfg RecorderConfig, deps RecorderDeps) (*Recorder, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Registerer == nil {
		return nil, errors.New("stormlog: Registerer is missing")
	}
	if deps.Clock == nil {
		deps.Clock = clock.System{}
	}
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Recorder{
		clock: deps.Clock, log: deps.Logger, start: deps.Clock.Now(), key: make([]byte, sha256.Size),
		calls: make(chan Call, channelCalls), stop: make(chan struct{}), recent: map[uint64]struct{}{}, writeAt: channelCalls,
		events: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "surgegate_record_events_total", Help: "Calls written to the trace that serve --record makes.",
		}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "surgegate_record_dropped_total", Help: "Calls that serve --record left out: it was behind, or its disk failed.",
		}),
	}
	r.recentFrom = r.start
	_, _ = rand.Read(r.key) // never fails
	var err error
	path := strings.ReplaceAll(cfg.Path, "{time}", r.start.UTC().Format("20060102T150405.000000Z"))
	r.folder, r.minFree = filepath.Dir(path), cfg.MinFree
	if err := r.checkRoom(); err != nil {
		return nil, err
	}
	if r.writer, err = Create(path, Header{T0: r.start, ID: "hmac"}); err != nil {
		return nil, err
	}
	if err := errors.Join(r.writer.Flush(), deps.Registerer.Register(r.events), deps.Registerer.Register(r.dropped)); err != nil {
		return nil, errors.Join(err, r.writer.Close())
	}
	r.done.Go(r.run)
	return r, nil
}

// Observe records a call, or drops and counts it when the channel is full. It never blocks. It may be called from any
// goroutine, but not after Close.
func (r *Recorder) Observe(c Call) {
	select {
	case r.calls <- c:
	default:
		r.dropped.Inc()
	}
}

// Close writes the calls observed before it, closes the file and waits for the goroutine. An error that ended the
// recording earlier was logged then and is not returned again.
func (r *Recorder) Close() error {
	r.once.Do(func() { close(r.stop) })
	r.done.Wait()
	return r.closeErr
}

func (r *Recorder) run() {
	tick := r.clock.NewTimer(flushEvery)
	defer tick.Stop()
	for {
		select {
		case c := <-r.calls:
			r.addEvent(c)
		case <-tick.C():
			r.writeUntil(r.clock.Now().Add(-sortWindow).Sub(r.start).Microseconds())
			r.tryOrEnd(r.checkRoom)
			r.tryOrEnd(r.writer.Flush)
			tick.Reset(flushEvery)
		case <-r.stop:
			for len(r.calls) > 0 {
				r.addEvent(<-r.calls)
			}
			r.writeUntil(1 << 62)
			if err := r.writer.Close(); r.failure == nil {
				r.closeErr = err
			}
			return
		}
	}
}

// checkRoom returns ErrNoRoom when less than minFree is free on the file's disk. The queue may live on the same disk, and
// a full disk would stop it from accepting resets.
func (r *Recorder) checkRoom() error {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(r.folder, &stat); err != nil {
		return fmt.Errorf("stormlog: %s: %w", r.folder, err)
	}
	if free := int64(stat.Bavail) * stat.Bsize; free < r.minFree {
		return fmt.Errorf("%w: %s has %d MiB free, and a recording leaves %d MiB to the queue; record to another disk", ErrNoRoom, r.folder, free>>20, r.minFree>>20)
	}
	return nil
}

// addEvent turns a call into an event that waits to be sorted and written.
func (r *Recorder) addEvent(c Call) {
	if r.failure != nil {
		r.dropped.Inc()
		return
	}
	e := Event{
		T: max(0, c.At.Sub(r.start).Microseconds()), U: r.pseudonym(c.Key), Op: c.Op, Cause: Endogenous, Attempt: c.Attempt,
		// Round up to whole ms: a deadline of 0 would mean none.
		Deadline: max(0, (c.Deadline + time.Millisecond - 1).Truncate(time.Millisecond)),
	}
	if c.Op == OpStart && !r.askedRecently(e.U, c.At) && c.Attempt == 0 {
		e.Cause = Exogenous
	}
	r.unsorted = append(r.unsorted, e)
	if len(r.unsorted) >= r.writeAt {
		r.writeUntil(c.At.Add(-sortWindow).Sub(r.start).Microseconds())
		// The last second's events stay. Let as many new ones come before the next sort, or each call would sort them all.
		r.writeAt = len(r.unsorted) + channelCalls
	}
}

func (r *Recorder) pseudonym(key string) uint64 {
	mac := hmac.New(sha256.New, r.key)
	mac.Write([]byte(key))
	return binary.BigEndian.Uint64(mac.Sum(nil))
}

// askedRecently reports whether the person asked in this period or the one before, and adds the person to this period. A
// period ends after recentPeriod or when its set is full.
func (r *Recorder) askedRecently(u uint64, at time.Time) bool {
	if age := at.Sub(r.recentFrom); age > recentPeriod || len(r.recent) >= maxRecentPeople {
		r.older, r.recent, r.recentFrom = r.recent, make(map[uint64]struct{}), at
		if age > 2*recentPeriod {
			r.older = nil
		}
	}
	_, inRecent := r.recent[u]
	_, inOlder := r.older[u]
	r.recent[u] = struct{}{}
	return inRecent || inOlder
}

// writeUntil sorts the waiting events and writes those whose T, in µs, is at most until.
func (r *Recorder) writeUntil(until int64) {
	slices.SortStableFunc(r.unsorted, func(a, b Event) int { return cmp.Compare(a.T, b.T) })
	n := 0
	for ; n < len(r.unsorted) && r.unsorted[n].T <= until; n++ {
		e := &r.unsorted[n]
		e.T = max(e.T, r.lastTime) // a call that came too late to be sorted
		r.lastTime = e.T
		if r.tryOrEnd(func() error { return r.writer.Write(e) }) {
			r.events.Inc()
		} else {
			r.dropped.Inc()
		}
	}
	r.unsorted = append(r.unsorted[:0], r.unsorted[n:]...)
}

// tryOrEnd runs do unless the recording has ended, and ends the recording when do fails. It reports whether do succeeded.
func (r *Recorder) tryOrEnd(do func() error) bool {
	if r.failure != nil {
		return false
	}
	if r.failure = do(); r.failure != nil {
		r.log.Error("recording has ended: the trace cannot be written; the gateway goes on without it", "error", r.failure.Error())
		return false
	}
	return true
}

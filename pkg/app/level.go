package app

import (
	"context"
	"math"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/config"
	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/queue"
)

// levelEvery is how often the ladder reads the signals. The level must rise before a wait of seconds becomes one of minutes.
const levelEvery = 500 * time.Millisecond

// leveller gives the ladder its signals and passes its level on.
type leveller struct {
	ladder  *admission.Ladder
	queue   queue.Producer
	clock   clock.Clock
	accept  gate.Config // the acceptance bounds
	show    func(admission.Shares)
	set     []func(level int, cause admission.Cause)
	samples []metrics.Sample
	delay   func() time.Duration // for which whatever is ready waits for a processor
	dataDir string
	reserve uint64
	// free is the number of free bytes on the disk when it was last read.
	free atomic.Uint64
	// next is a configuration that the ladder takes over with the next step.
	next atomic.Pointer[admission.LadderConfig]
}

// diskFree returns the free bytes of the disk; false if the system does not say.
func diskFree(dir string) (uint64, bool) {
	var fs syscall.Statfs_t
	if syscall.Statfs(dir, &fs) != nil {
		return 0, false
	}
	return fs.Bavail * uint64(fs.Bsize), true
}

// diskFill returns the queue's bytes as a share of what they may grow to before they reach the disk's reserve.
func diskFill(free, queued, reserve uint64) float64 {
	if free <= reserve {
		return 1
	}
	return float64(queued) / float64(queued+free-reserve)
}

func newLeveller(
	q queue.Producer, c clock.Clock, cfg config.Config, delay func() time.Duration, show func(admission.Shares),
	set ...func(int, admission.Cause),
) *leveller {
	return &leveller{
		ladder: admission.NewLadder(cfg.Ladder()),
		queue:  q, clock: c, show: show, set: set,
		accept:  cfg.Accept().WithDefaults(),
		samples: []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}},
		delay:   delay,
		dataDir: cfg.DataDir, reserve: uint64(cfg.Queue.DiskReserve),
	}
}

// run reads the signals until ctx ends.
func (l *leveller) run(ctx context.Context) {
	for {
		if stats, err := l.queue.Stats(ctx); err == nil {
			l.step(stats)
		}
		if l.clock.Sleep(ctx, levelEvery) != nil {
			return
		}
	}
}

func (l *leveller) step(stats queue.Stats) {
	now := l.clock.Now()
	if c := l.next.Swap(nil); c != nil {
		l.ladder.Configure(*c)
	}
	signals := l.signals(now, stats)
	level, cause := l.ladder.Step(now, signals)
	l.show(l.ladder.Shares(signals))
	for _, set := range l.set {
		set(level, cause)
	}
}

func (l *leveller) signals(now time.Time, stats queue.Stats) admission.Signals {
	s := l.accept.Signals(stats, now)
	s.CPUDelay = l.delay()
	if free, ok := diskFree(l.dataDir); ok {
		l.free.Store(free)
		s.DiskFill = diskFill(free, stats.Bytes, l.reserve)
	}
	// Without a memory limit (GOMEMLIMIT) the signal stays 0.
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		metrics.Read(l.samples)
		s.HeapFill = float64(l.samples[0].Value.Uint64()) / float64(limit)
	}
	return s
}

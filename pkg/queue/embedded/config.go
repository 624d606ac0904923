package embedded

import (
	"errors"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/reset"
)

// Config is the configuration of an Engine. Except in Dir, a zero field means its default.
type Config struct {
	// Dir is the folder of the database. Open makes it when it is absent. Required.
	Dir string
	// MaxBytes bounds the bytes of the jobs held. The default is 20 GiB.
	MaxBytes uint64
	// MaxJobs bounds the number of jobs held. The default is 40 million: a storm of 15 million, with room.
	MaxJobs uint64
	// DiskReserve is the free disk, in bytes, below which Enqueue is refused. The default is 2 GiB. Finish and
	// Pebble's compactions live from the reserve.
	DiskReserve uint64
	// DiskHysteresis is how many bytes above the reserve the free disk must rise before Enqueue is accepted again.
	// The default is a tenth of the reserve, so that acceptance does not flap with every compaction.
	DiskHysteresis uint64
	// Ballast is the size in bytes of a file that is deleted when the disk is full. The default is 64 MiB: enough to
	// flush a memtable, so that Pebble can go on until somebody makes space.
	Ballast uint64
	// DiskPoll is how often the free disk is read. The default is 1 s.
	DiskPoll time.Duration
	// Retention is how long final tickets stay readable. The default is 72 h.
	Retention time.Duration
	// CacheBytes is the size of Pebble's block cache. The default is 128 MiB.
	CacheBytes int64
	// MemTableBytes is the size of one memtable; there are at most four. The default is 32 MiB.
	MemTableBytes uint64
	// MaxOpenFiles is how many tables Pebble keeps open. The default is 1000. A few logs and manifests are open beside
	// them.
	MaxOpenFiles int

	memtableFilterKeys int // maxKeys of the memtable filter; tests make it small
}

const (
	// maxGroup is how many requests may share one fsync. It bounds how long one group holds Engine.mu.
	maxGroup = 512
	// sweepInterval is the pause between two sweeps of what is past its retention.
	sweepInterval = time.Minute
)

// WithDefaults returns a copy of c in which every zero field has its default.
func (c Config) WithDefaults() Config {
	setDefault(&c.MaxBytes, 20<<30)
	setDefault(&c.MaxJobs, 40_000_000)
	setDefault(&c.DiskReserve, 2<<30)
	setDefault(&c.DiskHysteresis, c.DiskReserve/10)
	setDefault(&c.Ballast, 64<<20)
	setDefault(&c.DiskPoll, time.Second)
	setDefault(&c.Retention, 72*time.Hour)
	setDefault(&c.CacheBytes, 128<<20)
	setDefault(&c.MemTableBytes, 32<<20)
	setDefault(&c.MaxOpenFiles, 1000)
	setDefault(&c.memtableFilterKeys, defaultFilterKeys)
	return c
}

func setDefault[T comparable](p *T, def T) {
	var zero T
	if *p == zero {
		*p = def
	}
}

// Validate returns an error that names the first field with an impossible value. It accepts zero fields.
func (c Config) Validate() error {
	switch {
	case c.Dir == "":
		return errors.New("dir: the queue needs a folder")
	case c.DiskPoll < 0:
		return errors.New("disk_poll: must not be negative")
	case c.Retention < 0:
		return errors.New("retention: must not be negative")
	case c.CacheBytes < 0:
		return errors.New("cache_bytes: must not be negative")
	case c.MaxOpenFiles < 0:
		return errors.New("max_open_files: must not be negative")
	case c.MemTableBytes != 0 && c.MemTableBytes < 1<<20:
		return errors.New("mem_table_bytes: must be at least 1 MiB, an item's atomic write must fit many times")
	}
	return nil
}

// Deps are the engine's dependencies. Only Fatal is required.
type Deps struct {
	Clock      clock.Clock           // nil: the machine's clock
	Registerer prometheus.Registerer // nil: metrics are not shown
	Logger     *slog.Logger          // nil: nothing is logged
	FS         vfs.FS                // nil: the disk
	// Fatal is called once, when durability is lost. It must end the process. The engine acknowledges nothing after
	// that. Fatal must not call the engine, because the goroutine that calls it may hold the engine's locks. Required.
	Fatal func(error)
	// OnJobEnd is called for each job that ends, for metrics. The committer calls it when it writes the end, before the
	// end is durable. A job whose ticket lives on in a follow-up has not ended. OnJobEnd must not block and must not
	// call the engine. May be nil.
	OnJobEnd func(lane reset.Lane, unique bool, state reset.State, age time.Duration)
}

func (d Deps) withDefaults() Deps {
	if d.Clock == nil {
		d.Clock = clock.System{}
	}
	if d.Registerer == nil {
		d.Registerer = prometheus.NewRegistry()
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	if d.FS == nil {
		d.FS = vfs.Default
	}
	if d.OnJobEnd == nil {
		d.OnJobEnd = func(reset.Lane, bool, reset.State, time.Duration) {}
	}
	return d
}

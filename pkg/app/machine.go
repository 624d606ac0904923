package app

import (
	"errors"
	"log/slog"
	"math"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"github.com/surgegate/surgegate/pkg/humanize"
	"github.com/surgegate/surgegate/pkg/version"
)

// limitMemory gives the Go runtime 90 % of the memory limit of the process's cgroup, unless GOMEMLIMIT is set: the rest is
// for what Go does not count, such as the page cache that the cgroup is charged for. Brownout uses the limit as its bound.
// The error says that the cgroup's limit could not be read; there is no limit then.
func limitMemory() error {
	if _, err := memlimit.Set(); err != nil && !errors.Is(err, memlimit.ErrNoLimit) {
		return err
	}
	return nil
}

// logStart writes the first line of the log: what runs, and what it may use of the machine.
func logStart(log *slog.Logger, b version.Build) {
	memory, from := "none", "no GOMEMLIMIT, and no cgroup limit"
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		memory, from = humanize.Bytes(uint64(limit)), "90 % of the cgroup's limit"
		if os.Getenv("GOMEMLIMIT") != "" {
			from = "GOMEMLIMIT"
		}
	}
	log.Info("surgegate starts", "version", b.Version, "commit", b.Commit, "go", b.Go,
		"processors", runtime.GOMAXPROCS(0), "memory_limit", memory, "memory_limit_from", from)
}

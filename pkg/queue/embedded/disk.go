package embedded

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// errDiskLow is why Enqueue is refused while the free disk is below the reserve.
var errDiskLow = errors.New("free disk below the reserve")

// upkeepLoop reads the free disk and sweeps, each at its interval.
func (e *Engine) upkeepLoop(ctx context.Context) {
	disk := e.deps.Clock.NewTimer(e.cfg.DiskPoll)
	defer disk.Stop()
	sweep := e.deps.Clock.NewTimer(sweepInterval)
	defer sweep.Stop()
	for {
		select {
		case <-disk.C():
			e.checkDisk()
			disk.Reset(e.cfg.DiskPoll)
		case <-sweep.C():
			if err := e.sweep(ctx); err != nil && ctx.Err() == nil {
				e.deps.Logger.Warn("queue: sweep", "error", err.Error())
			}
			sweep.Reset(sweepInterval)
		case <-ctx.Done():
			return
		case <-e.failedSignal:
			return
		}
	}
}

// checkDisk stops or allows Enqueue by the free disk, with hysteresis, and restores the ballast when there is room.
func (e *Engine) checkDisk() {
	usage, err := e.fs.GetDiskUsage(e.cfg.Dir)
	if err != nil {
		if !errors.Is(err, vfs.ErrUnsupported) {
			e.deps.Logger.Warn("queue: free disk unknown", "error", err.Error())
		}
		return
	}
	e.freeDisk.Store(&usage.AvailBytes)
	refusing := e.enqueueRefusal.Load() != nil
	switch {
	case usage.AvailBytes < e.cfg.DiskReserve && !refusing:
		e.enqueueRefusal.Store(&errDiskLow)
		e.deps.Logger.Error("queue: not accepting: free disk below the reserve", "free", usage.AvailBytes, "reserve", e.cfg.DiskReserve)
	case refusing && usage.AvailBytes >= e.cfg.DiskReserve+e.cfg.DiskHysteresis:
		e.enqueueRefusal.Store(nil)
		e.deps.Logger.Info("queue: accepting again", "free", usage.AvailBytes)
	case !refusing && usage.AvailBytes >= e.cfg.DiskReserve+e.cfg.DiskHysteresis+e.cfg.Ballast:
		if err := e.ensureBallast(); err != nil {
			e.deps.Logger.Warn("queue: no ballast", "error", err.Error())
		}
	}
}

func (e *Engine) ballastPath() string { return e.fs.PathJoin(e.cfg.Dir, "BALLAST") }

func (e *Engine) ensureBallast() error {
	if _, err := e.fs.Stat(e.ballastPath()); err == nil {
		return nil
	}
	f, err := e.fs.Create(e.ballastPath(), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	return errors.Join(f.Preallocate(0, int64(e.cfg.Ballast)), f.Close())
}

// handleDiskFull is called by Pebble's file system when a write has found no space, on the goroutine of that write. It
// deletes the ballast; Pebble then tries the write once more.
func (e *Engine) handleDiskFull() {
	e.enqueueRefusal.Store(&errDiskLow)
	err := e.fs.Remove(e.ballastPath())
	e.deps.Logger.Error("queue: disk full: not accepting, ballast given up", "ballast_error", err)
}

package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/loadtest/report"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/queue/embedded"
	"github.com/surgegate/surgegate/pkg/reset"
)

const (
	// sealedStart is the size of a start job's payload: an address of 25 characters, sealed.
	sealedStart = 80
	fillers     = 8
	fillSlice   = 500
)

// Filled is what the filling process tells of itself.
type Filled struct {
	Seconds float64 `json:"seconds"` // to fill, or to reopen and read one Stats
	Bytes   int64   `json:"resident_bytes"`
	Peak    int64   `json:"peak_resident_bytes"`
	Waiting uint64  `json:"waiting"`
}

// tickets fills a queue in one process and reopens it in another, so that memory is each process's own.
func (s *suite) tickets(ctx context.Context) ([]report.Figure, error) {
	dir := filepath.Join(s.dir, "tickets")
	fill, err := s.child(ctx, dir, s.Jobs)
	if err != nil {
		return nil, err
	}
	disk, err := diskUsage(dir)
	if err != nil {
		return nil, err
	}
	again, err := s.child(ctx, dir, 0)
	if err != nil {
		return nil, err
	}
	if again.Waiting != uint64(s.Jobs) {
		return nil, fmt.Errorf("%d jobs were acknowledged, %d are there after reopening", s.Jobs, again.Waiting)
	}
	million := fmt.Sprintf("%.3g M tickets queued", float64(s.Jobs)/1e6)
	mib, gb := float64(max(fill.Peak, again.Peak))/(1<<20), float64(disk)/1e9
	return []report.Figure{
		{Name: million + ": peak memory of the process", Value: mib, Unit: "MiB", Goal: "≤ 1024 (aim 400)", OK: mib <= 1024},
		{Name: million + ": time to reopen", Value: again.Seconds, Unit: "s", Goal: "≤ 5 (aim 1)", OK: again.Seconds <= 5},
		{Name: million + ": disk", Value: gb, Unit: "GB", Goal: "≤ 8 (aim 4)", OK: gb <= 8},
	}, nil
}

func (s *suite) child(ctx context.Context, dir string, jobs int) (Filled, error) {
	cmd := exec.CommandContext(ctx, s.Self, "bench-serve", "queue", dir, strconv.Itoa(jobs))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return Filled{}, err
	}
	var f Filled
	return f, json.Unmarshal(out, &f)
}

func diskUsage(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}

// FillQueue opens the queue in dir, enqueues so many start jobs durably, and writes Filled as JSON.
func FillQueue(ctx context.Context, w io.Writer, dir string, jobs int) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	var c clock.System
	begin := c.Now()
	engine, err := embedded.Open(embedded.Config{Dir: dir, DiskReserve: 1 << 20}, embedded.Deps{
		Clock: c, Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
		Fatal: func(err error) { fmt.Fprintln(os.Stderr, err) },
	})
	if err != nil {
		return err
	}
	if err := fillQueue(ctx, engine, c, jobs); err != nil {
		return errors.Join(err, engine.Close())
	}
	stats, err := engine.Stats(ctx)
	if err != nil {
		return errors.Join(err, engine.Close())
	}
	f := Filled{Seconds: c.Now().Sub(begin).Seconds(), Waiting: stats.Lanes[reset.LaneStart].Waiting[reset.ClassInteractive]}
	f.Bytes, f.Peak = resident()
	return errors.Join(json.NewEncoder(w).Encode(f), engine.Close())
}

func fillQueue(ctx context.Context, engine *embedded.Engine, c clock.Clock, jobs int) error {
	errs := make([]error, fillers)
	var group sync.WaitGroup
	for f := range fillers {
		group.Go(func() {
			for at := f * fillSlice; at < jobs; at += fillers * fillSlice {
				items := make([]queue.Item, min(fillSlice, jobs-at))
				for i := range items {
					id := reset.NewID()
					items[i].Job = reset.Job{
						ID: id, Ticket: reset.NewID(), Lane: reset.LaneStart, Key: reset.Key(id),
						AcceptTime: c.Now().Truncate(time.Microsecond), Payload: make([]byte, sealedStart),
					}
					copy(items[i].Job.Payload, id[:]) // differs, as ciphertexts do
				}
				for _, v := range engine.Enqueue(ctx, items) {
					if v.Err != nil {
						errs[f] = v.Err
						return
					}
				}
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// resident reads this process's memory from /proc; 0 where there is none.
func resident() (now, peak int64) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch name {
		case "VmRSS":
			now = kib << 10
		case "VmHWM":
			peak = kib << 10
		}
	}
	return now, peak
}

package victim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
)

// ExitOutOfMemory is how the process ends past its memory bound: as after SIGKILL by the kernel's out-of-memory killer.
const ExitOutOfMemory = 137

const statusEvery = 200 * time.Millisecond

// Status is what goes on inside a victim, told five times a second and at Config.Control.
type Status struct {
	Up      bool  `json:"up"`
	Cold    bool  `json:"cold"`
	Inside  int64 `json:"inside"` // items in line or being worked on
	Bytes   int64 `json:"bytes"`  // that they hold
	Applied int64 `json:"applied"`
	Lookups int64 `json:"lookups"`
	Crashes int   `json:"crashes"` // of the processes before this one

	Calls       int     `json:"calls"`        // inside now
	PeakCalls   int     `json:"peak_calls"`   // of this process
	CallSeconds float64 `json:"call_seconds"` // ∫ calls dt of this process; of two readings: their mean number
	Seconds     float64 `json:"seconds"`      // that this process has lived
	Step        Step    `json:"step"`
}

// Step changes a running victim until the next. The zero value stands still.
type Step struct {
	Speed   float64       `json:"speed"`       // of all work; 1 is normal, 0 stands still
	Workers float64       `json:"workers"`     // share of Config.Workers, or of Config.Knee; 1 is normal
	Latency time.Duration `json:"latency_ns"`  // beside Config.Latency
	ColdFor time.Duration `json:"cold_for_ns"` // half speed from now on for so long
	Refuse  bool          `json:"refuse"`      // answer every call with RESOURCE_EXHAUSTED, at once and without work
	Unknown bool          `json:"unknown"`     // answer SetPasswords with UNKNOWN, likewise
}

// Status is what goes on inside.
func (v *Victim) Status() Status {
	w, now := v.workers, v.clock.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inside.add(now, 0)
	return Status{
		Up: true, Cold: now.Before(w.coldUntil), Inside: w.inside.items, Bytes: w.inside.bytes,
		Applied: v.applied.Load(), Lookups: v.lookups.Load(), Crashes: v.cfg.Deaths,
		Calls: w.inside.calls, PeakCalls: w.inside.peak, CallSeconds: w.inside.seconds,
		Seconds: now.Sub(v.born).Seconds(), Step: w.step,
	}
}

// late is the latency that is not work.
func (w *workers) late() {
	step, _ := w.state()
	if d := w.cfg.Latency + step.Latency; d > 0 {
		_ = w.clock.Sleep(w.life, d) // ends early with the process
	}
}

// serveControl serves Config.Control until the function that it returns is called:
//
//	GET  /status   Status as JSON
//	POST /step     takes a Step as JSON
//	POST /crash    dies
func (v *Victim) serveControl() (end func()) {
	if v.control == nil {
		return func() {}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v.Status()) // the reader is gone: nobody to tell
	})
	mux.HandleFunc("POST /step", func(w http.ResponseWriter, r *http.Request) {
		s := Step{Speed: 1, Workers: 1}
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<10)).Decode(&s)
		if err != nil || !(s.Speed >= 0) || !(s.Workers > 0) || s.Latency < 0 || s.ColdFor < 0 {
			http.Error(w, `a step is {"speed": 1, "workers": 0.5, "latency_ns": 0, "cold_for_ns": 0, "refuse": false, "unknown": false}`, http.StatusBadRequest)
			return
		}
		v.workers.change(s)
	})
	mux.HandleFunc("POST /crash", func(http.ResponseWriter, *http.Request) { v.workers.die() })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(v.control) }) // ends with Close
	return func() {
		_ = server.Close()
		serving.Wait()
	}
}

// Tell writes the status as JSON lines until ctx ends or the reader is gone.
func (v *Victim) Tell(ctx context.Context, w io.Writer) error {
	enc := json.NewEncoder(w)
	for {
		if err := enc.Encode(v.Status()); err != nil {
			if ctx.Err() != nil {
				return nil // the parent went first
			}
			return fmt.Errorf("victim: status: %w", err)
		}
		if err := v.clock.Sleep(ctx, statusEvery); err != nil {
			return nil // the run is over
		}
	}
}

// RunChild is the whole of the victim's process: it serves, tells its status on out, and ends when its parent closes in.
func RunChild(ctx context.Context, cfg Config, in io.Reader, out io.Writer, die func()) error {
	v, err := New(cfg, Deps{Clock: clock.System{}, Die: die})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with the process: a read of stdin cannot be interrupted
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	told := make(chan error, 1)
	go func() {
		defer cancel() // nobody listens any more
		told <- v.Tell(ctx, out)
	}()
	err = v.Run(ctx)
	cancel()
	return errors.Join(err, <-told)
}

package victim

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"sync"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
)

// DefaultRestartDelay is how long an orchestrator takes to start a dead process again.
const DefaultRestartDelay = 5 * time.Second

// SupervisorConfig says how to start a victim, and again.
type SupervisorConfig struct {
	// Command starts RunChild with the Config that is appended to it as one argument of JSON.
	Command      []string
	Victim       Config
	RestartDelay time.Duration // default DefaultRestartDelay
}

// SupervisorDeps of a Supervisor.
type SupervisorDeps struct {
	Clock  clock.Clock
	Logger *slog.Logger
	Stderr io.Writer // of the victim's process
}

// Supervisor keeps a victim's process running, as an orchestrator would.
type Supervisor struct {
	cfg   SupervisorConfig
	deps  SupervisorDeps
	ready chan struct{}
	once  sync.Once

	mu     sync.Mutex
	status Status
	before Status // counts of the processes that are gone
}

// NewSupervisor checks the configuration; Run starts.
func NewSupervisor(cfg SupervisorConfig, deps SupervisorDeps) (*Supervisor, error) {
	cfg.Victim = cfg.Victim.WithDefaults()
	def(&cfg.RestartDelay, DefaultRestartDelay)
	if len(cfg.Command) == 0 {
		return nil, errors.New("victim: Command is missing")
	}
	if err := cfg.Victim.Validate(); err != nil {
		return nil, err
	}
	if deps.Clock == nil {
		deps.Clock = clock.System{}
	}
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}
	return &Supervisor{cfg: cfg, deps: deps, ready: make(chan struct{})}, nil
}

// Ready is closed once the first process serves.
func (s *Supervisor) Ready() <-chan struct{} { return s.ready }

// Status is the last that was told, with the counts of all processes so far.
func (s *Supervisor) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Run keeps the victim up until ctx ends. An end that is not the memory bound's is an error: it would be the tool's fault.
func (s *Supervisor) Run(ctx context.Context) error {
	cfg := s.cfg.Victim
	for {
		err := s.runOnce(ctx, cfg)
		if ctx.Err() != nil {
			return nil // the run is over
		}
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != ExitOutOfMemory {
			return fmt.Errorf("victim: the process ended, but not of its memory bound: %w", err)
		}
		s.mu.Lock()
		s.status.Up, s.status.Cold, s.status.Inside, s.status.Bytes, s.status.Calls = false, false, 0, 0, 0
		s.status.Crashes++
		s.before = s.status
		crashes := s.status.Crashes
		s.mu.Unlock()
		s.deps.Logger.Warn("the store's process died of its memory bound", "crashes", crashes, "restart_in", s.cfg.RestartDelay)
		if err := s.deps.Clock.Sleep(ctx, s.cfg.RestartDelay); err != nil {
			return nil // the run is over
		}
		cfg.Cold, cfg.Deaths = true, crashes
	}
}

func (s *Supervisor) runOnce(ctx context.Context, cfg Config) error {
	arg, err := json.Marshal(cfg)
	if err != nil {
		return fmt.Errorf("victim: %w", err)
	}
	command := append(append([]string(nil), s.cfg.Command...), string(arg))
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stderr = s.deps.Stderr
	cmd.WaitDelay = time.Second
	// Closed when this process ends, however it ends: the victim never outlives its supervisor.
	if _, err := cmd.StdinPipe(); err != nil {
		return fmt.Errorf("victim: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("victim: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("victim: %w", err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		s.took(lines.Bytes())
	}
	return cmd.Wait()
}

func (s *Supervisor) took(line []byte) {
	var told Status
	if err := json.Unmarshal(line, &told); err != nil {
		return // the torn last line of a process that died
	}
	s.mu.Lock()
	told.Applied += s.before.Applied
	told.Lookups += s.before.Lookups
	told.Crashes = s.before.Crashes
	s.status = told
	s.mu.Unlock()
	s.once.Do(func() { close(s.ready) })
}

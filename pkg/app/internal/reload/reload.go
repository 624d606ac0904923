package reload

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/config"
	"github.com/surgegate/surgegate/pkg/operator"
	"github.com/surgegate/surgegate/pkg/reset"
)

// Deps are what a Reloader works with.
type Deps struct {
	// Load reads file and environment again; nil: the process was started without a file.
	Load func() (config.Config, error)
	// Reconfigure audits a reload and calls do: see operator.Overrides.
	Reconfigure func(ctx context.Context, e operator.Entry, do func() error) error
	// Apply puts what is hot of a configuration into force, all of it or nothing.
	Apply      func(config.Config) error
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Reloader reloads. Make it with New; it is safe for concurrent use.
type Reloader struct {
	d       Deps
	results map[string]prometheus.Counter

	mu      sync.Mutex // held through a reload
	inForce config.Config
}

// Results of a reload.
const (
	resultApplied   = "applied"
	resultUnchanged = "unchanged"
	resultRefused   = "refused"
)

// New returns a Reloader for a process that runs with c.
func New(c config.Config, d Deps) (*Reloader, error) {
	if d.Reconfigure == nil || d.Apply == nil || d.Logger == nil || d.Registerer == nil {
		return nil, errors.New("reload: Reconfigure, Apply, Logger and Registerer are needed")
	}
	results := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "surgegate_config_reloads_total", Help: "Reloads of the configuration by what became of them.",
	}, []string{"result"})
	r := &Reloader{d: d, inForce: c, results: map[string]prometheus.Counter{}}
	for _, x := range []string{resultApplied, resultUnchanged, resultRefused} {
		r.results[x] = results.WithLabelValues(x)
	}
	return r, d.Registerer.Register(results)
}

// Reload reads the configuration again and returns what has changed. A dry run says what would. The error is a
// *reset.Error of KindPrecondition where the configuration is at fault; nothing has changed then.
func (r *Reloader) Reload(ctx context.Context, by operator.Caller, dryRun bool) ([]config.Change, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next, changes, err := r.read()
	if err == nil && !dryRun && len(changes) > 0 {
		err = r.apply(ctx, by, next, changes)
	}
	if dryRun {
		return changes, err
	}
	switch {
	case err != nil:
		r.results[resultRefused].Inc()
		r.d.Logger.Error("reload refused: nothing has changed", "who", by.Who, "error", err)
		return nil, err
	case len(changes) == 0:
		r.results[resultUnchanged].Inc()
		r.d.Logger.Info("reload: the configuration is the one in force", "who", by.Who)
	default:
		r.results[resultApplied].Inc()
		r.d.Logger.Warn("reload: the configuration has changed", "who", by.Who, "keys", keys(changes))
	}
	return changes, nil
}

// read tells what differs, if all of it can be changed.
func (r *Reloader) read() (config.Config, []config.Change, error) {
	if r.d.Load == nil {
		return config.Config{}, nil, refused("there is no configuration file: this process was started without --config")
	}
	next, err := r.d.Load()
	if err != nil {
		return config.Config{}, nil, refused(strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	changes := config.Diff(r.inForce, next)
	var cold []config.Change
	for _, c := range changes {
		if !c.Hot {
			cold = append(cold, c)
		}
	}
	if len(cold) > 0 {
		return config.Config{}, nil, refused(fmt.Sprintf("%s: restart to change; nothing has been changed", keys(cold)))
	}
	return next, changes, nil
}

func (r *Reloader) apply(ctx context.Context, by operator.Caller, next config.Config, changes []config.Change) error {
	var before, after []string
	entry := operator.Entry{Who: by.Who, From: by.From, What: operator.ActionReload}
	for _, c := range changes {
		entry.Targets = append(entry.Targets, c.Key)
		before = append(before, c.Key+": "+c.Before)
		after = append(after, c.Key+": "+c.After)
	}
	entry.Before, entry.After = strings.Join(before, "; "), strings.Join(after, "; ")
	err := r.d.Reconfigure(ctx, entry, func() error {
		err := r.d.Apply(next)
		if err != nil {
			return errors.Join(err, r.d.Apply(r.inForce)) // what was applied before the part that failed
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.inForce = next
	return nil
}

func keys(changes []config.Change) string {
	names := make([]string, len(changes))
	for i, c := range changes {
		names[i] = c.Key
	}
	return strings.Join(names, ", ")
}

func refused(detail string) error {
	return &reset.Error{Kind: reset.KindPrecondition, Detail: detail}
}

package reload_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/surgegate/surgegate/pkg/app/internal/reload"
	"github.com/surgegate/surgegate/pkg/config"
	"github.com/surgegate/surgegate/pkg/operator"
	"github.com/surgegate/surgegate/pkg/queue/embedded"
	"github.com/surgegate/surgegate/pkg/reset"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world reloads what file holds, over a real queue.
type world struct {
	*reload.Reloader
	reg  *prometheus.Registry
	book *operator.Overrides

	mu      sync.Mutex
	file    config.Config
	wrong   error
	stuck   string   // the log level that cannot be applied
	applied []string // log levels, in order
}

func newWorld(t *testing.T, withFile bool) *world {
	t.Helper()
	w := &world{reg: prometheus.NewRegistry(), file: config.Default()}
	engine, err := embedded.Open(embedded.Config{Dir: t.TempDir()}, embedded.Deps{Fatal: func(err error) { t.Errorf("fatal: %v", err) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	log := slog.New(slog.DiscardHandler)
	if w.book, err = operator.NewOverrides(operator.OverridesDeps{Records: engine, Logger: log, Registerer: w.reg}); err != nil {
		t.Fatal(err)
	}
	d := reload.Deps{Reconfigure: w.book.Reconfigure, Logger: log, Registerer: w.reg, Apply: func(c config.Config) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.applied = append(w.applied, c.Log.Level)
		if c.Log.Level == w.stuck {
			return errors.New("stuck")
		}
		return nil
	}}
	if withFile {
		d.Load = func() (config.Config, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.file, w.wrong
		}
	}
	if w.Reloader, err = reload.New(config.Default(), d); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) count(t *testing.T, refused, unchanged, applied int) {
	t.Helper()
	want := fmt.Sprintf(`# HELP surgegate_config_reloads_total Reloads of the configuration by what became of them.
# TYPE surgegate_config_reloads_total counter
surgegate_config_reloads_total{result="applied"} %d
surgegate_config_reloads_total{result="refused"} %d
surgegate_config_reloads_total{result="unchanged"} %d
`, applied, refused, unchanged)
	if err := testutil.GatherAndCompare(w.reg, strings.NewReader(want), "surgegate_config_reloads_total"); err != nil {
		t.Error(err)
	}
}

func TestWhatCannotBeAppliedIsTakenBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	by := operator.Caller{Who: "ada"}
	w.file.Log.Level, w.stuck = "debug", "debug"
	if _, err := w.Reload(t.Context(), by, false); err == nil || !strings.Contains(err.Error(), "stuck") {
		t.Fatalf("%v", err)
	}
	if !slices.Equal(w.applied, []string{"debug", "info"}) {
		t.Errorf("applied %v: what was in force is not put back", w.applied)
	}
	w.mu.Lock()
	w.stuck = ""
	w.mu.Unlock()
	// What was refused is not taken for what is in force.
	changes, err := w.Reload(t.Context(), by, false)
	if err != nil || len(changes) != 1 || changes[0] != (config.Change{Key: "log.level", Before: "info", After: "debug", Hot: true}) {
		t.Errorf("%+v, %v", changes, err)
	}
	if changes, err = w.Reload(t.Context(), by, false); err != nil || len(changes) != 0 {
		t.Errorf("%+v, %v", changes, err)
	}
	w.count(t, 1, 1, 1)
	trail, _, err := w.book.Trail(t.Context(), "", 10)
	var what []string
	for _, e := range trail {
		what = append(what, e.Who+" "+e.What+" "+e.After)
	}
	if err != nil || !slices.Equal(what, []string{"ada reload log.level: debug", "ada reload_undone not changed: stuck",
		"ada reload log.level: debug"}) {
		t.Errorf("%q, %v", what, err)
	}
}

func TestWhatCannotBeReloadedIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	refused := func(want string) {
		t.Helper()
		_, err := w.Reload(t.Context(), operator.Caller{}, false)
		var e *reset.Error
		if !errors.As(err, &e) || e.Kind != reset.KindPrecondition || e.Detail != want {
			t.Errorf("%v, want %q", err, want)
		}
	}
	w.file.Log.Level, w.file.DataDir, w.file.Token.TTL = "debug", "/elsewhere", config.Duration(1)
	refused("data_dir, token.ttl: restart to change; nothing has been changed")
	w.wrong = errors.Join(errors.New("a.yaml:1: x"), errors.New("a.yaml:2: y"))
	refused("a.yaml:1: x; a.yaml:2: y")
	if _, err := w.Reload(t.Context(), operator.Caller{}, true); err == nil {
		t.Error("a dry run does not tell")
	}
	w.count(t, 2, 0, 0) // a dry run is none
	if len(w.applied) != 0 {
		t.Errorf("applied %v", w.applied)
	}
	if trail, _, err := w.book.Trail(t.Context(), "", 10); err != nil || len(trail) != 0 {
		t.Errorf("%+v, %v", trail, err)
	}
	bare := newWorld(t, false)
	if _, err := bare.Reload(t.Context(), operator.Caller{}, false); reset.KindOf(err) != reset.KindPrecondition ||
		!strings.Contains(err.Error(), "without --config") {
		t.Errorf("%v", err)
	}
}

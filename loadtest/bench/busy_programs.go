package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/surgegate/surgegate/loadtest/testbed"
	"github.com/surgegate/surgegate/loadtest/victim"
	"github.com/surgegate/surgegate/pkg/clock"
)

// programs are the gateway and its store, up.
type programs struct {
	clock          clock.Clock
	store          *testbed.Process
	gateway        testbed.Gateway
	control        *victim.ControlClient
	controlAddress string
	ledger         string
	http           *http.Client
}

// open starts them. What it returns beside an error is to be closed, too.
func open(ctx context.Context, cfg busyConfig, c clock.Clock) (*programs, error) {
	p := &programs{
		clock: c, http: &http.Client{Transport: &http.Transport{}, Timeout: time.Second},
		ledger: filepath.Join(cfg.Dir, "ledger.jsonl"),
	}
	if err := errors.Join(os.RemoveAll(cfg.Dir), os.MkdirAll(cfg.Dir, 0o700)); err != nil {
		return p, fmt.Errorf("bench: %w", err)
	}
	free, err := testbed.FreeAddresses(2)
	if err != nil {
		return p, err
	}
	store := free[0]
	p.controlAddress = free[1]
	p.control = victim.NewControlClient(p.controlAddress, c)
	flags := append([]string{
		"victim", "--listen", store, "--control", p.controlAddress, "--ledger", p.ledger, "--accounts", strconv.Itoa(cfg.People),
	}, cfg.Victim...)
	if p.store, err = testbed.Start(ctx, c, store, cfg.Storm, flags...); err != nil {
		return p, fmt.Errorf("bench: %w", err)
	}
	pinned := testbed.AnyCore
	if cfg.SharedCore {
		pinned = core
	}
	if p.gateway, err = testbed.StartGateway(ctx, c, testbed.GatewayConfig{
		Program: cfg.Surgegate, Dir: cfg.Dir, Store: fmt.Sprintf("{grpc: {address: %q, insecure: true}}", store), Core: pinned,
	}); err != nil {
		return p, fmt.Errorf("bench: %w", err)
	}
	return p, nil
}

// stop ends the programs, the gateway first: it drains while it can still reach the store.
func (p *programs) stop() {
	if p.gateway.Process != nil {
		p.gateway.Stop()
	}
	if p.store != nil {
		p.store.Stop()
	}
	p.gateway, p.store = testbed.Gateway{}, nil
}

func (p *programs) close() error {
	p.stop()
	p.http.CloseIdleConnections()
	if p.control != nil {
		p.control.Close()
	}
	return nil
}

// pacedAt is what the gateway lets out to the store at one moment.
type pacedAt struct {
	At              time.Duration // since the first
	Limit, InFlight float64       // calls at once
}

// learning is how long a store may die while it is found out.
const learning = time.Minute

// watch looks at the gateway's metrics and at the store each second until ctx ends. A second in which one of them does not
// answer is left out.
func (p *programs) watch(ctx context.Context) (paced []pacedAt, late int, err error) {
	start := p.clock.Now()
	early, crashes := 0, 0
	for p.clock.Sleep(ctx, time.Second) == nil {
		now := p.clock.Now().Sub(start)
		if s := p.control.Look(ctx); s.Up {
			crashes = max(crashes, s.Crashes)
		}
		if now <= learning {
			early = crashes
		}
		limit, inFlight, err := p.scrape(ctx)
		if err == nil {
			paced = append(paced, pacedAt{At: now, Limit: limit, InFlight: inFlight})
		}
	}
	if len(paced) == 0 {
		return nil, 0, errors.New("bench: the gateway's metrics were never there")
	}
	return paced, crashes - early, nil
}

// scrape reads the store's limit of calls at once, and the calls that are out.
func (p *programs) scrape(ctx context.Context) (limit, inFlight float64, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.gateway.HTTP+"/metrics", nil)
	if err != nil {
		return 0, 0, fmt.Errorf("bench: %w", err)
	}
	answer, err := p.http.Do(request)
	if err != nil {
		return 0, 0, fmt.Errorf("bench: %w", err)
	}
	defer answer.Body.Close() //nolint:errcheck // read to its end or given up
	return pacedOf(answer.Body)
}

func pacedOf(text io.Reader) (limit, inFlight float64, err error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(text)
	if err != nil {
		return 0, 0, fmt.Errorf("bench: %w", err)
	}
	for name, into := range map[string]*float64{
		"surgegate_downstream_concurrency_limit": &limit, "surgegate_downstream_in_flight": &inFlight,
	} {
		found := false
		for _, m := range families[name].GetMetric() {
			if isOfStore(m) {
				*into, found = m.GetGauge().GetValue(), true
			}
		}
		if !found {
			return 0, 0, fmt.Errorf("bench: there is no %s of the store", name)
		}
	}
	return limit, inFlight, nil
}

func isOfStore(m *dto.Metric) bool {
	for _, l := range m.GetLabel() {
		if l.GetName() == "downstream" && l.GetValue() == "store" {
			return true
		}
	}
	return false
}

// mostAhead is the most that the limit was above the calls that were in flight when it was last raised: a limit that is raised
// while it is not used says nothing of what the store takes. Between two samples the more calls count.
func mostAhead(paced []pacedAt) (most float64) {
	used := 0.0 // 0: it was not raised yet
	for i, s := range paced {
		if i > 0 && s.Limit > paced[i-1].Limit {
			used = max(1, s.InFlight, paced[i-1].InFlight)
		}
		if used > 0 {
			most = max(most, s.Limit/used)
		}
	}
	return most
}

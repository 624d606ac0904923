package edge_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/edge"
	"github.com/surgegate/surgegate/pkg/edge/edgetest"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(edgetest.Context(t), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	now := clock.NewManual(time.Now())
	f := edgetest.Serve(t, &edgetest.Gate{}, edge.Config{}, func(d *edge.Deps) {
		d.Clock = now
		d.Ready = func() error {
			if broken.Load() {
				return errors.New("disk of db-17 is full")
			}
			return nil
		}
	})
	base := "http://" + f.Addrs().HTTP.String()
	if code, _ := fetch(t, base+"/healthz"); code != http.StatusOK {
		t.Errorf("healthz %d", code)
	}
	if code, _ := fetch(t, base+"/readyz"); code != http.StatusOK {
		t.Errorf("readyz %d", code)
	}
	broken.Store(true)
	if code, body := fetch(t, base+"/readyz"); code != http.StatusServiceUnavailable || strings.Contains(body, "db-17") {
		t.Errorf("readyz %d %q", code, body)
	}
	if code, _ := fetch(t, base+"/healthz"); code != http.StatusOK {
		t.Errorf("healthz %d while not ready: a restart would not help", code)
	}
	_, body := fetch(t, base+"/metrics")
	for _, line := range []string{
		`grpc_server_handled_total{grpc_code="ResourceExhausted",grpc_method="StartReset",grpc_service="surgegate.reset.v1.PasswordReset",grpc_type="unary"} 0`,
		`surgegate_grpc_operator_calls_total{code="Unauthenticated"} 0`,
		`grpc_server_handling_seconds_bucket{grpc_method="WatchTicket",grpc_service="surgegate.reset.v1.PasswordReset",grpc_type="server_stream",le="0.005"} 0`,
		`surgegate_grpc_refused_connections_total{listener="grpc"} 0`,
	} {
		if !strings.Contains(body, line) {
			t.Errorf("metrics lack %s", line)
		}
	}
	if code, _ := fetch(t, base+"/debug/pprof/"); code != http.StatusNotFound {
		t.Errorf("pprof %d on the health port", code)
	}
	// The health service follows once a second.
	h := healthv1.NewHealthClient(edgetest.Dial(t, f.Addrs().GRPC.String()))
	now.BlockUntil(1)
	now.Advance(time.Second)
	now.BlockUntil(1)
	if resp, err := h.Check(edgetest.Context(t), &healthv1.HealthCheckRequest{}); err != nil || resp.GetStatus() != healthv1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health %v %v", resp, err)
	}
}

// TestBothHistograms: classic buckets for whoever asks for text, native ones for whoever asks for protobuf.
func TestBothHistograms(t *testing.T) {
	t.Parallel()
	f := edgetest.Serve(t, &edgetest.Gate{}, edge.Config{}, nil)
	if _, err := f.Client().GetTicket(edgetest.Context(t), &resetv1.GetTicketRequest{TicketId: "t"}); err != nil {
		t.Fatal(err)
	}
	families, err := f.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "grpc_server_handling_seconds" {
			continue
		}
		for _, m := range family.GetMetric() {
			if h := m.GetHistogram(); h.Schema == nil || len(h.GetBucket()) == 0 {
				t.Errorf("%v: schema %v, %d classic buckets", m.GetLabel(), h.Schema, len(h.GetBucket()))
			}
		}
		return
	}
	t.Error("no histogram")
}

func TestMetricsLint(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	edgetest.Serve(t, &edgetest.Gate{}, edge.Config{}, func(d *edge.Deps) { d.Registerer = reg })
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

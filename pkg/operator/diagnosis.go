package operator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/diagnosis"
	"github.com/surgegate/surgegate/pkg/queue"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// diagnostician evaluates the diagnosis once a second and after each change by an operator, and keeps it for all callers.
// It is safe for concurrent use.
type diagnostician struct {
	metrics *diagnosisMetrics

	mu        sync.Mutex
	speeds    diagnosis.Speeds
	diagnoser *diagnosis.Diagnoser
	last      *operatorv1.GetStatusResponse // the status that was evaluated last, with its diagnosis; nil before the first
}

// evaluate makes the diagnosis of the present status and keeps both. The caller must not use the status afterwards.
func (d *diagnostician) evaluate(s *operatorv1.GetStatusResponse, clients diagnosis.Clients) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.speeds.Observe(s)
	s.Diagnosis = d.diagnoser.Observe(s, clients)
	d.metrics.show(s)
	d.last = s
}

// tell adds the last evaluation to a status, so that all callers within a second see the same.
func (d *diagnostician) tell(s *operatorv1.GetStatusResponse, clients diagnosis.Clients) {
	d.mu.Lock()
	last := d.last
	d.mu.Unlock()
	if last == nil { // Run has not looked yet
		s.Diagnosis = diagnosis.Once(s, clients)
		return
	}
	s.Diagnosis = last.GetDiagnosis()
	for _, now := range s.GetDownstreams() {
		for _, then := range last.GetDownstreams() {
			if then.GetDownstream() == now.GetDownstream() {
				now.SpeedRatio, now.BestItemRate, now.BestTime = then.GetSpeedRatio(), then.GetBestItemRate(), then.GetBestTime()
			}
		}
	}
}

// diagnose evaluates the present status.
func (s *Service) diagnose(now time.Time, stats queue.Stats) {
	s.diagnosis.evaluate(s.figures(now, stats), s.limitedClients)
}

// diagnoseChange evaluates the status after a change by an operator, so that its effect is seen at once.
func (s *Service) diagnoseChange(ctx context.Context) {
	if stats, err := s.stats.read(ctx); err == nil { // if not, Run looks again within a second
		s.diagnose(s.d.Clock.Now(), stats)
	}
}

// diagnosisMetrics are the diagnosis as metrics. All series exist from the start.
type diagnosisMetrics struct {
	causes map[diagnosis.Cause]prometheus.Gauge
	speeds map[string]prometheus.Gauge
}

func newDiagnosisMetrics(r prometheus.Registerer) (*diagnosisMetrics, error) {
	causes := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "surgegate_diagnosis",
		Help: "1 while the diagnosis of surgectl status has the cause among its findings, 0 otherwise; downstream is empty where it is about none.",
	}, []string{"cause", "downstream"})
	speeds := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "surgegate_downstream_speed_ratio",
		Help: "How fast the downstream works beside its best of the last hour for the same kinds of calls; 1 also while there is nothing " +
			"to compare with.",
	}, []string{"downstream"})
	m := &diagnosisMetrics{causes: map[diagnosis.Cause]prometheus.Gauge{}, speeds: map[string]prometheus.Gauge{}}
	for _, c := range diagnosis.Causes() {
		m.causes[c] = causes.WithLabelValues(c.ID, c.Downstream)
		if c.Downstream != "" && c.Downstream != "revoker" { // the revoker's calls are the store's
			m.speeds[c.Downstream] = speeds.WithLabelValues(c.Downstream)
			m.speeds[c.Downstream].Set(1)
		}
	}
	if err := errors.Join(r.Register(causes), r.Register(speeds)); err != nil {
		return nil, fmt.Errorf("operator: metrics: %w", err)
	}
	return m, nil
}

func (m *diagnosisMetrics) show(s *operatorv1.GetStatusResponse) {
	found := map[diagnosis.Cause]bool{}
	for _, f := range s.GetDiagnosis().GetFindings() {
		found[diagnosis.Cause{ID: f.GetId(), Downstream: f.GetDownstream()}] = true
	}
	for cause, gauge := range m.causes {
		value := 0.
		if found[cause] {
			value = 1
		}
		gauge.Set(value)
	}
	for _, d := range s.GetDownstreams() {
		if gauge := m.speeds[d.GetDownstream()]; gauge != nil {
			ratio := d.GetSpeedRatio()
			if ratio == 0 {
				ratio = 1
			}
			gauge.Set(ratio)
		}
	}
}

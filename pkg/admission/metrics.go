package admission

import (
	"errors"
	"log/slog"
	"math"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// reason is why a call was, or in a dry run would have been, refused.
type reason uint8

const (
	reasonNone reason = iota
	reasonClientIP
	reasonClientID
	reasonGlobal
	reasonShed2
	reasonShed3
	reasonShed4
	reasons
)

func (r reason) labels() (decision, name string) {
	switch r {
	case reasonNone:
		return "admitted", "none"
	case reasonClientIP:
		return "limited", "limit_client_ip"
	case reasonClientID:
		return "limited", "limit_client_id"
	case reasonGlobal:
		return "limited", "limit_global"
	case reasonShed2:
		return "shed", "shed_level_2"
	case reasonShed3:
		return "shed", "shed_level_3"
	default:
		return "shed", "shed_level_4"
	}
}

// Grounds are the numbers behind a refusal. With Deps.Explain they are the Cause of its error. They name no client.
type Grounds struct {
	Rule string // the reason label of the metrics
	// For a limit: the tokens left in the bucket, how many it gets a second, how many it holds at most, and the time until it
	// has a whole token.
	Tokens, PerSecond float64
	Burst             int
	Wait              time.Duration
	// For a shed call: the level, the signal that raised it, and its cause in words.
	Level  int
	Signal string
	Why    string
}

// Error implements error.
func (g *Grounds) Error() string { return "admission: " + g.Rule }

// Numbers returns the grounds as attributes of a log line.
func (g *Grounds) Numbers() []slog.Attr {
	if g.Level > 0 {
		return []slog.Attr{slog.String("rule", g.Rule), slog.Int("level", g.Level), slog.String("signal", g.Signal), slog.String("why", g.Why)}
	}
	return []slog.Attr{slog.String("rule", g.Rule), slog.Float64("tokens", round3(g.Tokens)), slog.Float64("per_second", round3(g.PerSecond)),
		slog.Int("burst", g.Burst), slog.Duration("wait", g.Wait.Round(time.Millisecond))}
}

// round3 rounds to three decimals, for people.
func round3(f float64) float64 { return math.Round(f*1000) / 1000 }

// clientGrounds returns the grounds of a client's empty bucket; nil, without an allocation, if nobody wants them.
func (a *Admission) clientGrounds(r reason, h *lockedBucket, wait time.Duration) error {
	if !a.explain {
		return nil
	}
	_, rule := r.labels()
	return &Grounds{Rule: rule, Tokens: h.limiter.TokensAt(h.shard.now), PerSecond: float64(h.shard.limit), Burst: h.shard.burst, Wait: wait}
}

// globalGrounds is clientGrounds for the global bucket.
func (a *Admission) globalGrounds(now time.Time, wait time.Duration) error {
	if !a.explain {
		return nil
	}
	_, rule := reasonGlobal.labels()
	global := a.rules.Load().Global
	return &Grounds{Rule: rule, Tokens: a.global.TokensAt(now), PerSecond: global.Rate.PerSecond(), Burst: global.Burst, Wait: wait}
}

// shedGrounds is clientGrounds for a call that the level sheds.
func (a *Admission) shedGrounds(r reason) error {
	if !a.explain {
		return nil
	}
	_, rule := r.labels()
	b := a.level.Load()
	return &Grounds{Rule: rule, Level: b.level, Signal: b.cause.Signal.String(), Why: b.cause.Words}
}

// Indices of the metrics with a label of two values.
const (
	kindIP, kindID             = 0, 1
	chargeSpent, chargeRefused = 0, 1
)

type metrics struct {
	collectors []prometheus.Collector
	// The children are looked up once, because a look-up costs more than the bucket.
	decisions [reasons]paddedCounter
	dryRuns   [reasons]paddedCounter // that of reasonNone stays 0
	charges   [2]prometheus.Counter
	overflow  [2]prometheus.Counter
	changes   [MaxLevel + 1][signals]prometheus.Counter // by the level that was entered
	shares    [signals]prometheus.Gauge                 // that of SignalNone is nil
}

func newMetrics() *metrics {
	m := &metrics{}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		m.collectors = append(m.collectors, v)
		return v
	}
	charges := vec("surgegate_admission_charges_total",
		"Refused tokens and passwords, by whether the client's buckets could pay.", "result")
	overflow := vec("surgegate_admission_overflow_total",
		"Calls that met an overflow bucket because the bound of keys was reached.", "kind")
	counter := func(name, help string, labels prometheus.Labels, n *paddedCounter) {
		m.collectors = append(m.collectors, prometheus.NewCounterFunc(
			prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels}, func() float64 { return float64(n.Load()) }))
	}
	for r := range reasons {
		decision, name := r.labels()
		counter("surgegate_admission_decisions_total",
			"Calls admitted, limited by a bucket or shed by the brownout level, and why. Reads are not counted.",
			prometheus.Labels{"decision": decision, "reason": name}, &m.decisions[r])
		if r != reasonNone {
			counter("surgegate_admission_dry_run_total", "Calls that a rule in dry run would have refused.",
				prometheus.Labels{"reason": name}, &m.dryRuns[r])
		}
	}
	changes := vec("surgegate_brownout_changes_total",
		"Changes of the brownout level, by the level that was entered and the signal behind it.", "level", "signal")
	for level := range m.changes {
		for s := range signals {
			m.changes[level][s] = changes.WithLabelValues(strconv.Itoa(level), s.String())
		}
	}
	shares := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "surgegate_brownout_signal_ratio",
		Help: "Each signal of the brownout ladder as a share of its bound, as last looked at: 1 is at the bound.",
	}, []string{"signal"})
	m.collectors = append(m.collectors, shares)
	for s := SignalNone + 1; s < signals; s++ {
		m.shares[s] = shares.WithLabelValues(s.String())
	}
	m.charges = [2]prometheus.Counter{charges.WithLabelValues("spent"), charges.WithLabelValues("refused")}
	m.overflow = [2]prometheus.Counter{overflow.WithLabelValues("ip"), overflow.WithLabelValues("id")}
	return m
}

func (m *metrics) register(r prometheus.Registerer, a *Admission) error {
	gauge := func(name, help string, labels prometheus.Labels, value func() float64) {
		m.collectors = append(m.collectors, prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, value))
	}
	const keysHelp = "Client buckets kept; one that has refilled is dropped."
	gauge("surgegate_admission_keys", keysHelp, prometheus.Labels{"kind": "ip"},
		func() float64 { return float64(a.ips.keys.Load()) })
	gauge("surgegate_admission_keys", keysHelp, prometheus.Labels{"kind": "id"},
		func() float64 { return float64(a.ids.keys.Load()) })
	gauge("surgegate_admission_tokens", "Tokens left in the global bucket.", nil, a.GlobalTokens)
	const limitHelp = "Tokens a second that the rule in force gives: to all together, or to each client."
	gauge("surgegate_admission_limit", limitHelp, prometheus.Labels{"rule": "global"},
		func() float64 { return a.Rules().Global.Rate.PerSecond() })
	gauge("surgegate_admission_limit", limitHelp, prometheus.Labels{"rule": "client"},
		func() float64 { return a.Rules().Client.Rate.PerSecond() })
	gauge("surgegate_brownout_level", "Brownout level: 0 normal, 1 defer extras, 2 shed bulk, 3 completions only, 4 closed.", nil,
		func() float64 { level, _ := a.Level(); return float64(level) })
	for s := range signals {
		gauge("surgegate_brownout_signal", "1 for the signal that the brownout level comes from, 0 for the others.",
			prometheus.Labels{"signal": s.String()}, func() float64 {
				if a.level.Load().cause.Signal == s {
					return 1
				}
				return 0
			})
	}
	var errs []error
	for _, collector := range m.collectors {
		errs = append(errs, r.Register(collector))
	}
	return errors.Join(errs...)
}

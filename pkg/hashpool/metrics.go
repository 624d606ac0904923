package hashpool

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type op uint8

const (
	opMakeArgon2 op = iota
	opMakeBcrypt
	opVerifyArgon2
	opVerifyBcrypt
	opCount
)

type metrics struct {
	inUse, waiting, memoryInUse prometheus.Gauge
	seconds                     [opCount]prometheus.Observer
}

func newMetrics(cfg Config, r prometheus.Registerer) (*metrics, error) {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "surgegate", Subsystem: "hashpool", Name: name, Help: help})
	}
	m := &metrics{
		inUse:       gauge("slots_in_use", "Slots that are computing a hash."),
		waiting:     gauge("waiting", "Hashes that wait for slots or memory."),
		memoryInUse: gauge("memory_in_use_bytes", "Bytes of memory of the hashes being computed."),
	}
	slots := gauge("slots", "Slots there are: hashes computed at once.")
	slots.Set(float64(cfg.Slots))
	budget := gauge("memory_budget_bytes", "Bytes of memory that hashes may use at once.")
	budget.Set(float64(cfg.MemoryBytes))
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "surgegate", Subsystem: "hashpool", Name: "seconds",
		Help: "Seconds to compute one hash, without the wait for a slot, by operation and algorithm.",
		// Dense around the default's cost on today's machines, 15 to 40 ms.
		Buckets:                         []float64{.01, .03, .06, .1, .25, 1},
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  100,
		NativeHistogramMinResetDuration: time.Hour,
	}, []string{"operation", "algorithm"})
	m.seconds[opMakeArgon2] = seconds.WithLabelValues("make", "argon2")
	m.seconds[opMakeBcrypt] = seconds.WithLabelValues("make", "bcrypt")
	m.seconds[opVerifyArgon2] = seconds.WithLabelValues("verify", "argon2")
	m.seconds[opVerifyBcrypt] = seconds.WithLabelValues("verify", "bcrypt")
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.inUse, m.waiting, m.memoryInUse, slots, budget, seconds} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

package meter

import (
	"slices"
	"sync"
	"time"
)

// Meter measures one lane.
type Meter struct {
	mu       sync.Mutex
	rate     float64
	measured bool
	working  bool // the runner has work in hand: it does not wait for the queue
	since    time.Time
	worked   time.Duration
	last     time.Time // of the window's begin
	count    int
	took     [256]time.Duration // from lease to end, the last ones
	samples  int
	sorted   int           // samples when service was computed
	service  time.Duration // a high percentile of took
}

// New returns a meter that starts with the rate that is published before any measurement.
func New(floor float64) *Meter { return &Meter{rate: floor} }

// Resume takes over what an earlier process measured.
func (m *Meter) Resume(rate float64, service time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.service = max(service, 0)
	if rate > 0 {
		m.rate, m.measured = rate, true
	}
}

// Idle says that the runner waits for work from now on.
func (m *Meter) Idle(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.working {
		m.worked += now.Sub(m.since)
		m.working = false
	}
}

// Busy says that the runner has work from now on.
func (m *Meter) Busy(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.working {
		m.since, m.working = now, true
	}
}

// Ended counts a job that ended, and how long it took from its lease.
func (m *Meter) Ended(took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count++
	m.took[m.samples%len(m.took)] = took
	m.samples++
}

// smoothing of the rate: a window a second, so about the last five seconds of work.
const smoothing = .2

// Read closes a window. A window says what the lane can do only if it had work all the time; else no more than that
// it can do at least as much. While the downstream is out nothing is measured. A window of fewer jobs than the least
// tells nothing: it goes on until it has them.
func (m *Meter) Read(now time.Time, out bool, least int) (rate float64, service time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.working {
		m.worked += now.Sub(m.since)
		m.since = now
	}
	few := m.count < least
	if few && !out && !m.last.IsZero() {
		return max(m.rate, MinRate), m.service
	}
	window := now.Sub(m.last)
	if !m.last.IsZero() && window > 0 && !out && !few {
		sample := float64(m.count) / window.Seconds()
		switch full := m.worked > window/2; {
		case full && m.measured:
			m.rate += smoothing * (sample - m.rate)
		case full && m.count > 0, sample > m.rate:
			m.rate, m.measured = sample, true
		}
	}
	m.last, m.count, m.worked = now, 0, 0
	if n := min(m.samples, len(m.took)); n > 0 && !few && m.sorted != m.samples {
		m.sorted = m.samples
		sorted := m.took // a copy
		slices.Sort(sorted[:n])
		m.service = sorted[(n*95)/100]
	}
	return max(m.rate, MinRate), m.service
}

// MinRate keeps an ETA finite: a job in 100 s.
const MinRate = .01

package pace

import "time"

// Ramp is a share of full speed that grows linearly with time. The zero value is full speed.
type Ramp struct {
	Start   time.Time     // zero: no ramp, full speed
	Initial float64       // the share at Start
	Length  time.Duration // until the share is 1
}

// Share returns the share at now, from Initial to 1; before Start it is Initial.
func (r Ramp) Share(now time.Time) float64 {
	if r.Done(now) {
		return 1
	}
	passed := max(now.Sub(r.Start), 0)
	return r.Initial + (1-r.Initial)*float64(passed)/float64(r.Length)
}

// Done reports whether full speed is reached.
func (r Ramp) Done(now time.Time) bool {
	return r.Start.IsZero() || r.Length <= 0 || now.Sub(r.Start) >= r.Length
}

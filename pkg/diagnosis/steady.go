package diagnosis

import "time"

// confirm is how long something must be true without a break before it replaces what is shown: half of the window of the
// rates that it is measured by, so that one burst does not change the cause.
const confirm = 5 * time.Second

// steady is the state machine of the package comment for one value; the zero of T means that there is nothing to show. The
// zero steady shows nothing.
type steady[T comparable] struct {
	shown T
	rival T
	since time.Time // when the rival was first seen; zero: there is none
}

// next takes what is true now and returns what to show. atOnce means that it need not be confirmed.
func (s *steady[T]) next(now time.Time, raw T, atOnce bool) T {
	var nothing T
	switch {
	case raw == s.shown:
		s.since = time.Time{}
	case atOnce, s.shown == nothing:
		s.shown, s.since = raw, time.Time{}
	case s.since.IsZero(), raw != s.rival, now.Before(s.since): // also: the clock was set back
		s.rival, s.since = raw, now
	case now.Sub(s.since) >= confirm:
		s.shown, s.since = raw, time.Time{}
	}
	return s.shown
}

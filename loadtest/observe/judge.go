package observe

import (
	"slices"
	"strings"
	"time"
)

// What is asked of the diagnosis.
const (
	settle    = 10 * time.Second // after the fault's beginning, before the first cause has to be a true one
	mostFalse = .05              // share of the samples after that in which the first cause may be another
	mostWrong = 5 * time.Second  // how long a wrong culprit may be named without a break
	fewest    = .5               // share of the seconds after settle that must have a sample
)

// judged is what samples say about one fault, or several at once.
type judged struct {
	Samples  int           // after settle
	Expected int           // seconds after settle
	True     float64       // share of them whose first cause is a true one
	All      float64       // share of them that name every fault
	First    string        // the cause that is first most often; empty: none
	False    string        // the cause that is first most often where it is no true one; empty: none
	Wrong    string        // the wrong culprit that was named longest; empty: none was
	WrongFor time.Duration // how long
}

// OK tells whether the diagnosis told the truth.
func (j judged) OK() bool {
	return float64(j.Samples) >= fewest*float64(j.Expected) && j.True >= 1-mostFalse && j.All >= 1-mostFalse && j.WrongFor <= mostWrong
}

// judge asks whether samples tell the truth about faults that began at begin and lasted until end. Causes has a set of true
// causes for each fault; without a fault nothing is to be named. Allowed are causes that may be named beside them.
func judge(samples []sample, begin, end time.Time, causes [][]string, allowed []string) judged {
	var all []string
	for _, set := range causes {
		all = append(all, set...)
	}
	j := judged{Expected: int(end.Sub(begin.Add(settle)).Seconds())}
	first, named, often, untrue := 0, 0, map[string]int{}, map[string]int{}
	wrong := wrongs{since: map[string]time.Time{}}
	for _, s := range samples {
		if s.at.Before(begin) || s.at.After(end) {
			continue
		}
		wrong.add(s, func(cause string) bool {
			return blames(cause) && !slices.Contains(all, cause) && !slices.Contains(allowed, cause)
		})
		if s.at.Before(begin.Add(settle)) {
			continue
		}
		j.Samples++
		cause := firstCause(s.causes, !slices.Contains(all, starved) && slices.Contains(allowed, starved))
		often[cause]++
		if isTrue(s, cause, all, allowed) {
			first++
		} else {
			untrue[cause]++
		}
		if !slices.ContainsFunc(causes, func(set []string) bool { return !containsAny(s.causes, set) }) {
			named++
		}
	}
	wrong.end(end)
	j.Wrong, j.WrongFor = wrong.longest, wrong.lasted
	if j.Samples > 0 {
		j.True, j.All = float64(first)/float64(j.Samples), float64(named)/float64(j.Samples)
	}
	j.First, j.False = mostOften(often), mostOften(untrue)
	return j
}

// firstCause is the first cause; empty: none. On a busy machine a shortage of processor time is true as well, and comes first.
func firstCause(causes []string, isBusy bool) string {
	for _, cause := range causes {
		if cause != starved || !isBusy {
			return cause
		}
	}
	return ""
}

const starved = "gateway_starved"

// mostOften is the cause with the highest count; of equals the first in the alphabet.
func mostOften(counts map[string]int) (most string) {
	for cause, n := range counts {
		if n > counts[most] || n == counts[most] && cause < most {
			most = cause
		}
	}
	return most
}

// isTrue tells whether the first cause is a true one: where there is no fault, none that blames anybody.
func isTrue(s sample, cause string, all, allowed []string) bool {
	if len(all) > 0 {
		return slices.Contains(all, cause)
	}
	return !slices.ContainsFunc(s.blamed, func(c string) bool { return blames(c) && !slices.Contains(allowed, c) })
}

// blames tells whether a cause blames somebody. The others are what follows from one: a level, a line, what an operator did
// and is not a stop, a downstream on its way back.
func blames(cause string) bool {
	switch cause {
	case "", "level", "queue_full", "queue_filling", "waiting", "override_standing", "parked", "draining":
		return false
	}
	return !strings.HasPrefix(cause, "recovering/") && !strings.HasPrefix(cause, "untried/")
}

func containsAny(list, set []string) bool {
	return slices.ContainsFunc(set, func(s string) bool { return slices.Contains(list, s) })
}

// wrongs finds the culprit that was named longest without a break.
type wrongs struct {
	since   map[string]time.Time
	longest string
	lasted  time.Duration
}

func (w *wrongs) add(s sample, isWrong func(string) bool) {
	for cause, since := range w.since {
		if !slices.Contains(s.blamed, cause) {
			w.note(cause, s.at.Sub(since))
			delete(w.since, cause)
		}
	}
	for _, cause := range s.blamed {
		if _, known := w.since[cause]; !known && isWrong(cause) {
			w.since[cause] = s.at
		}
	}
}

func (w *wrongs) note(cause string, lasted time.Duration) {
	if lasted > w.lasted {
		w.longest, w.lasted = cause, lasted
	}
}

func (w *wrongs) end(at time.Time) {
	for cause, since := range w.since {
		w.note(cause, at.Sub(since))
	}
}

// firstNamed is the time from begin to the first sample after it that names one of a set; before: the last one before it did.
func firstNamed(samples []sample, begin time.Time, set []string) (after time.Duration, before bool) {
	for _, s := range samples {
		switch named := containsAny(s.causes, set); {
		case s.at.Before(begin):
			before = named
		case named:
			return s.at.Sub(begin), before
		}
	}
	return Never, before
}

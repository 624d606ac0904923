package downstream

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/failure"
)

const (
	// logEvery is the least time between two lines of one class of failures.
	logEvery = time.Minute
	// remembered is how far back failures are shown; slot is the resolution.
	remembered = 5 * time.Minute
	slot       = 10 * time.Second
	slots      = int(remembered/slot) + 1
	// causeWindow is how far back the cause of an opening is looked for.
	causeWindow = time.Minute
	// mostClasses bounds the classes that are told apart: a server can write any code.
	mostClasses = 32
	// mostText bounds a downstream's text in a line, in bytes.
	mostText = 300
)

// Failure is one class of failures, over the last 5 minutes.
type Failure struct {
	Outcome string // overload, timeout, error; item: the call was answered, and these items cannot be done
	Code    string // see package failure
	Call    string // the kind of the last such call: lookup, write, revoke, mail, hash
	Items   uint64 // that failed so
	Last    time.Time
	Meaning string
}

// failures are those of one downstream, by class. It is safe for concurrent use.
type failures struct {
	name  string
	log   *slog.Logger
	text  func() bool // whether the downstream's words may be logged
	codes map[string]prometheus.Counter

	mu      sync.Mutex
	classes map[failureClass]*failureCount
}

type failureClass struct{ outcome, code string }

type failureCount struct {
	call     string
	counts   bool // for the breaker
	last     time.Time
	advice   string // what surgegate itself knows to change, of the last such call; it goes before the code's meaning
	text     string
	slots    [slots]struct{ number, calls, items uint64 }
	calls    int // since the last line
	items    int
	loggedAt time.Time
}

func newFailures(s Spec, deps Deps) *failures {
	f := &failures{
		name: s.Name, log: deps.Logger, text: deps.LogText,
		codes: make(map[string]prometheus.Counter), classes: make(map[failureClass]*failureCount),
	}
	if f.text == nil {
		f.text = func() bool { return false }
	}
	for _, code := range append([]string{failure.Other, failure.TimedOut}, s.Codes...) {
		f.codes[code] = deps.Metrics.failures.WithLabelValues(s.Name, code)
	}
	return f
}

// outcomeName is what an operator sees of a class. An Item is no success to him.
func outcomeName(c Class) string {
	if c == Item {
		return "item"
	}
	return c.String()
}

// record counts a failed call, and logs it unless its class was logged within the last minute.
func (f *failures) record(ctx context.Context, now time.Time, call string, c Class, e failure.Error, items int) {
	code := failure.Clean(e.Code)
	f.count(code).Add(float64(items))
	f.mu.Lock()
	key := failureClass{outcomeName(c), code}
	n := f.class(&key, now)
	n.call, n.counts, n.last = call, c == Overload || c == Timeout || c == Outage, now
	n.advice, n.text = e.Advice, e.Text
	n.calls++
	n.items += items
	s := &n.slots[now.UnixNano()/int64(slot)%int64(slots)]
	if number := uint64(now.UnixNano() / int64(slot)); s.number != number {
		s.number, s.calls, s.items = number, 0, 0
	}
	s.calls++
	s.items += uint64(items)
	line := f.due(key, n, now)
	f.mu.Unlock()
	f.write(ctx, line)
}

// class finds or makes the class, or falls back to one for all that are too many. Called under mu.
func (f *failures) class(key *failureClass, now time.Time) *failureCount {
	if n, ok := f.classes[*key]; ok {
		return n
	}
	if len(f.classes) >= mostClasses {
		for k, n := range f.classes {
			if n.calls == 0 && now.Sub(n.last) > remembered {
				delete(f.classes, k)
			}
		}
	}
	if len(f.classes) >= mostClasses {
		key.code = failure.Other
		if n, ok := f.classes[*key]; ok {
			return n
		}
	}
	n := &failureCount{}
	f.classes[*key] = n
	return n
}

// count returns the series of the longest declared code that the code begins with, or of Other.
func (f *failures) count(code string) prometheus.Counter {
	for n := len(code); n > 0; n-- {
		if c, ok := f.codes[code[:n]]; ok {
			return c
		}
	}
	return f.codes[failure.Other]
}

// due returns the line to be written, nil if the last one was less than a minute ago. Called under mu.
func (f *failures) due(key failureClass, n *failureCount, now time.Time) []any {
	if n.calls == 0 || !n.loggedAt.IsZero() && now.Sub(n.loggedAt) < logEvery {
		return nil
	}
	line := []any{
		"downstream", f.name, "call", n.call, "outcome", key.outcome, "code", key.code, "failures", n.calls, "items", n.items,
		"meaning", f.meaning(key, n),
	}
	if n.text != "" && f.text() {
		line = append(line, "text", strings.ToValidUTF8(n.text[:min(len(n.text), mostText)], "?"))
	}
	n.calls, n.items, n.text, n.loggedAt = 0, 0, "", now
	return line
}

// meaning returns what an operator is told of a class: the advice of its last failure, or else what its code means.
func (f *failures) meaning(key failureClass, n *failureCount) string {
	return cmp.Or(n.advice, failure.Meaning(f.name, key.code))
}

func (f *failures) write(ctx context.Context, line []any) {
	if line != nil {
		f.log.WarnContext(ctx, "calls of a downstream failed", line...)
	}
}

// flush logs what has failed since the last line of each class, once that is a minute ago.
func (f *failures) flush(ctx context.Context, now time.Time) {
	var lines [][]any
	f.mu.Lock()
	for key, n := range f.classes {
		if line := f.due(key, n, now); line != nil {
			lines = append(lines, line)
		}
	}
	f.mu.Unlock()
	for _, line := range lines {
		f.write(ctx, line)
	}
}

func (n *failureCount) within(now time.Time, d time.Duration) (calls, items uint64) {
	oldest := uint64(now.Add(-d).UnixNano() / int64(slot))
	for _, s := range n.slots {
		if s.number >= oldest && s.calls > 0 {
			calls, items = calls+s.calls, items+s.items
		}
	}
	return calls, items
}

// list returns the classes of the last 5 minutes, most first.
func (f *failures) list(now time.Time) (all []Failure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, n := range f.classes {
		if _, items := n.within(now, remembered); items > 0 {
			all = append(all, Failure{
				Outcome: key.outcome, Code: key.code, Call: n.call, Items: items, Last: n.last, Meaning: f.meaning(key, n),
			})
		}
	}
	slices.SortFunc(all, func(a, b Failure) int {
		return cmp.Or(cmp.Compare(b.Items, a.Items), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Outcome, b.Outcome))
	})
	return all
}

// cause says which failures opened the breaker: those of the last minute that are most.
func (f *failures) cause(now time.Time) []any {
	f.mu.Lock()
	defer f.mu.Unlock()
	var most uint64
	var found failureClass
	var meaning string
	for key, n := range f.classes {
		calls, _ := n.within(now, causeWindow)
		if n.counts && (calls > most || calls == most && key.code < found.code) {
			most, found, meaning = calls, key, f.meaning(key, n)
		}
	}
	if most == 0 {
		return nil
	}
	return []any{"outcome", found.outcome, "code", found.code, "failures", most, "meaning", meaning}
}

package observe

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/surgegate/surgegate/loadtest/measure"
	"github.com/surgegate/surgegate/loadtest/people"
)

// Count is one thing that two have counted.
type Count struct {
	Name       string
	Expr       string
	Prometheus float64
	Known      float64 // by the load generator, the store or the mail server
}

// agreement is how far apart they may be: what Prometheus says is as of its last scrape.
const agreement = .02

// Agrees tells whether they say the same.
func (c Count) Agrees() bool {
	return math.Abs(c.Prometheus-c.Known) <= agreement*math.Max(c.Prometheus, c.Known)
}

// String is a line of a table.
func (c Count) String() string {
	return fmt.Sprintf("%-44s Prometheus %8.1f  known %8.0f", c.Name, c.Prometheus, c.Known)
}

// counts holds the increase of counters over the whole run to what others have counted. The window begins before the program
// did, so that Prometheus starts from the 0 of the first scrape, and ends with the last scrape, so that it guesses nothing.
func (w *world) counts(ctx context.Context, arm measure.Arm, begin, end time.Time) (counts []Count, err error) {
	window := Duration(end.Sub(begin) + time.Minute)
	for _, c := range w.known(arm) {
		c.Expr = fmt.Sprintf("sum(increase(%s[%s]))", c.Expr, window)
		if c.Prometheus, err = w.prom.Number(ctx, c.Expr, end); err != nil {
			return counts, err
		}
		counts = append(counts, c)
	}
	return counts, nil
}

// known is what is counted elsewhere, with the counters that should say the same.
func (w *world) known(arm measure.Arm) []Count {
	ops := map[string]measure.Op{}
	for _, op := range arm.Ops {
		ops[op.Op] = op
	}
	var counts []Count
	add := func(name string, known float64, series string) {
		counts = append(counts, Count{Name: name, Known: known, Expr: series})
	}
	for _, c := range []struct {
		op   people.Op
		call string
	}{{people.OpStart, "start"}, {people.OpCheck, "check_token"}, {people.OpComplete, "complete"}, {people.OpTicket, "get_ticket"}} {
		o, call := ops[c.op.String()], c.call
		add("offered, "+call, float64(o.Calls), fmt.Sprintf("surgegate_gate_requests_total{call=%q}", call))
		add("accepted, "+call, float64(o.Calls-o.Refused-o.Failed),
			fmt.Sprintf(`surgegate_gate_requests_total{call=%q,verdict=~"ok|accepted|coalesced|replayed"}`, call))
	}
	reasons := map[string]float64{}
	for _, r := range arm.Reasons {
		reasons[r.Reason] = float64(r.Calls)
	}
	sum := func(names ...string) (n float64) {
		for _, name := range names {
			n += reasons[name]
		}
		return n
	}
	shed := sum("SHED_LEVEL_2", "SHED_LEVEL_3", "SHED_LEVEL_4")
	add("refused by a client's limit", sum("LIMIT_CLIENT"), `surgegate_admission_decisions_total{reason=~"limit_client_.*"}`)
	add("refused by the global limit", sum("LIMIT_GLOBAL"), `surgegate_admission_decisions_total{reason="limit_global"}`)
	add("shed", shed, `surgegate_admission_decisions_total{decision="shed"}`)
	add("queue full", sum("QUEUE_FULL"), `surgegate_gate_requests_total{verdict="queue_full"}`)
	offered := 0
	for _, op := range []people.Op{people.OpStart, people.OpCheck, people.OpComplete} {
		offered += ops[op.String()].Calls
	}
	add("offered", float64(offered), "surgegate_admission_decisions_total")
	add("admitted", float64(offered)-shed-sum("LIMIT_CLIENT", "LIMIT_GLOBAL"), `surgegate_admission_decisions_total{decision="admitted"}`)
	const done = `surgegate_ticket_age_seconds_count{lane="apply",state="done"}`
	add("completed, as people were told", float64(arm.Completed), done)
	add("completed, as the store has it", float64(w.store.Status().Applied), done)
	add("completed, the promise kept", float64(arm.Completed), `surgegate_promise_resets_total{part="password",outcome="kept"}`)
	add("link mails, the promise kept", float64(w.sink.Links()), `surgegate_promise_resets_total{part="link",outcome="kept"}`)
	add("link mails", float64(w.sink.Links()), `surgegate_mails_total{purpose="link",outcome="sent"}`)
	add("confirmation mails", float64(w.sink.Others()), `surgegate_mails_total{purpose="confirmation",outcome="sent"}`)
	return counts
}

// Check is what must be so in a phase.
type Check struct {
	Name  string
	Value float64
	Want  string
	OK    bool
}

// String is a line of a table.
func (c Check) String() string { return fmt.Sprintf("%-60s %8.2f, want %s", c.Name, c.Value, c.Want) }

// check asks what must be so. A phase's edges are left out by the time that a rate needs to see it.
func (w *world) check(ctx context.Context, phases []Phase) (checks []Check, err error) {
	by := map[string]Phase{}
	for _, p := range phases {
		by[p.Name] = p
	}
	end := by[Recovery].To
	shed := fmt.Sprintf(`sum(rate(surgegate_admission_decisions_total{decision="shed"}[%s]))`, Duration(4*w.cfg.scrape))
	const fill = "surgegate_queue_bytes / surgegate_queue_max_bytes"
	open := `sum(surgegate_breaker_state{downstream="store",state=~"open|half_open"})`
	for _, c := range []struct {
		name, expr string
		from, to   time.Time
		highest    bool // judge the highest value, not the lowest
		want       string
		ok         func(v float64) bool
	}{
		{"calls shed in the calm", shed, by[Calm].From, by[Calm].To, true, "0", isZero},
		{"calls shed a second, storm and dark", shed, by[Stormy].From, by[Dark].To, true, "> 0", isMore},
		{"calls shed a second at the end", shed, end, end, true, "0", isZero},
		{"level in the calm", "surgegate_brownout_level", by[Calm].From, by[Calm].To, true, "0", isZero},
		{"level, storm and dark", "surgegate_brownout_level", by[Stormy].From, by[Dark].To, true, "≥ 2", atLeast(2)},
		{"level at the end", "surgegate_brownout_level", end, end, true, "0", isZero},
		{"store's breaker open in the calm", open, by[Calm].From, by[Calm].To, true, "0", isZero},
		{"store's breaker open in the dark", open, by[Dark].From, by[Dark].To, true, "1", isOne},
		{"store's breaker open at the end", open, end, end, true, "0", isZero},
		{"jobs, at the most", "sum(surgegate_queue_jobs)", by[Stormy].From, by[Dark].To, true, "≥ 20", atLeast(20)},
		{"jobs at the end", "sum(surgegate_queue_jobs)", end, end, true, "0", isZero},
		{"queue's fill, at the most", fill, by[Stormy].From, end, true, "≥ 0.75", atLeast(.75)},
		{"conservation, at the most", "surgegate_queue_conservation", by[Calm].From, end, true, "0", isZero},
		{"conservation, at the least", "surgegate_queue_conservation", by[Calm].From, end, false, "0", isZero},
		{"scrapes that failed", fmt.Sprintf("1 - up{job=%q}", job), by[Calm].From, end, true, "0", isZero},
	} {
		lowest, highest, err := w.prom.Extremes(ctx, c.expr, c.from, c.to)
		if err != nil {
			return checks, err
		}
		value := lowest
		if c.highest {
			value = highest
		}
		checks = append(checks, Check{Name: c.name, Value: value, Want: c.want, OK: c.ok(value)})
	}
	return checks, nil
}

func isZero(v float64) bool { return v == 0 }
func isOne(v float64) bool  { return v == 1 }
func isMore(v float64) bool { return v > 0 }

func atLeast(bound float64) func(float64) bool { return func(v float64) bool { return v >= bound } }

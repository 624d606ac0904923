package main

import (
	"fmt"
	"strings"
)

// metric selects a metric's series of the chosen instances; more are further matchers, as in `lane="mail"`.
func metric(name string, more ...string) string {
	return fmt.Sprintf(`%s{%s}`, name, strings.Join(append([]string{`job=~"$job"`, `instance=~"$instance"`}, more...), ","))
}

// now is a gauge's last value of the last four scrapes: one scrape that failed, as some do in a storm, empties no tile.
func now(name string, more ...string) string {
	return fmt.Sprintf("last_over_time(%s[$__rate_interval])", metric(name, more...))
}

// recorded selects what a recording rule keeps. Rules sum over the instances of a job.
func recorded(name string, more ...string) string {
	return fmt.Sprintf(`%s{%s}`, name, strings.Join(append([]string{`job=~"$job"`}, more...), ","))
}

// rate of a counter, a second.
func rate(name string, more ...string) string {
	return fmt.Sprintf("rate(%s[$__rate_interval])", metric(name, more...))
}

// sum over all series, or by labels.
func sum(expr string, by ...string) string { return aggregate("sum", expr, by) }

func biggest(expr string, by ...string) string { return aggregate("max", expr, by) }

func smallest(expr string, by ...string) string { return aggregate("min", expr, by) }

func aggregate(op, expr string, by []string) string {
	if len(by) == 0 {
		return fmt.Sprintf("%s(%s)", op, expr)
	}
	return fmt.Sprintf("%s by (%s) (%s)", op, strings.Join(by, ", "), expr)
}

// share is part ÷ whole. It has no value where the whole is 0.
func share(part, whole string) string { return fmt.Sprintf("%s / (%s > 0)", part, whole) }

// orZero is for series that need not be there.
func orZero(expr string) string { return "(" + expr + ") or vector(0)" }

// otherwise gives a value where expr has none but there has something. Where that has nothing either, as when nobody answers
// Prometheus, there is none: a tile must not say that all is well because it knows nothing.
func otherwise(expr string, value int, there string) string {
	return fmt.Sprintf("(%s) or %d + 0 * %s", expr, value, there)
}

// quantile of a histogram, by labels: from the native histogram, else from the classic buckets. A Prometheus that keeps
// both answers natively. Where nothing was observed there is no value, rather than one that is no number.
func quantile(q float64, name string, by []string, more ...string) string {
	le := append(append([]string{}, by...), "le")
	return fmt.Sprintf("(histogram_quantile(%[1]v, %[2]s) or histogram_quantile(%[1]v, %[3]s)) >= 0",
		q, sum(rate(name, more...), by...), sum(rate(name+"_bucket", more...), le...))
}

// mean of what a histogram observed; no value where that is nothing.
func mean(name string, by []string, more ...string) string {
	return fmt.Sprintf("(histogram_avg(%s) or %s) >= 0", sum(rate(name, more...), by...),
		share(sum(rate(name+"_sum", more...), by...), sum(rate(name+"_count", more...), by...)))
}

// observations of a histogram, a second.
func observations(name string, more ...string) string {
	return fmt.Sprintf("(histogram_count(%s) or %s)", sum(rate(name, more...)), sum(rate(name+"_count", more...)))
}

// day bounds every "time until": what is further away is as good as never.
const day = 86400

// timeUntil is how long work lasts at a speed, a second, at most a day: a speed near 0 makes it a day, no work makes it 0.
func timeUntil(work, speed string) string {
	return fmt.Sprintf("clamp_max(%s / clamp_min(%s, 1e-6), %d)", work, speed, day)
}

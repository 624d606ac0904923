// Package audit holds dashboards to what the program exports and to the rules in which they are made: it reads the JSON that
// is committed, as Grafana would, and knows nothing of how it came about.
//
//	World      what can be asked for: metrics with their labels and values, recording rules, runbooks
//	Board      what a dashboard's file says
//	Findings   what is wrong with a Board in a World, a sentence each; none is good
//	Unshown    metrics of a World that no text mentions
//
// # What a query may be
//
// It parses. Each of its selectors names a metric of the World with labels and values that occur, and takes the dashboard's
// variables. A counter or histogram stands in a function that takes its growth. What divides cannot be 0: it is compared
// with 0, clamped, a number, or a bound that the program never exports as 0. A label in a legend or grouping is one of the
// metric's.
//
// # What it cannot know
//
// Whether a query answers anything, and whether the picture tells the truth: that takes a Prometheus and a storm.
package audit

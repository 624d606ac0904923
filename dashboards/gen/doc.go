// Command gen writes the Grafana dashboards of surgegate, as classic JSON, into a folder.
//
//	gen [FOLDER]      FOLDER/storm.json, FOLDER/internals.json; default grafana
//
// # Who reads them
//
// Storm is for one person at three in the morning. It is read from the top: a tile that is red says that it burns, the line
// of tiles below who limits, and each row further down is one question (what is asked for, what people get, where it waits,
// who does not take it, what the machine has left). A row's title says how to read it, because a text beside it would take a
// sixth of the page from the charts; each panel has a description for who has never seen it, and a link to the runbook of
// the alert that watches the same thing.
//
// Internals is for one instance, when Storm has told which.
//
// # How they are made
//
//	storm.go, downstreams.go, internals.go   what is shown: rows of panels, as plain values
//	queries.go                               PromQL that is written once: matchers, quantiles, guarded shares
//	panels.go                                a panel value made into Grafana's, with the settings that all of them share
//	board.go                                 variables, annotations, layout, JSON
//
// # Rules that the tests hold them to
//
//   - Everything asked of Prometheus parses, and exists in the registry of the program as it runs, or in the recording rules.
//   - Counters are read through rate or increase, over $__rate_interval; a share is never a division by 0.
//   - A histogram is read natively and, where a Prometheus keeps none of that kind, by its buckets: `native or classic`.
//   - A tile asks for this moment only, so that an old value never stands where a new one is missing. While the program
//     answers it has a value; "as good as never" is a number (a day) that is shown in words. When nothing is known it says
//     so, and not that all is well.
//   - One colour means one thing: green is well or done, amber waits, red is refused or broken. Lanes and downstreams have
//     one colour each on all panels.
//
// The other way round, what the program exports and nobody looks at is on a list with a reason (testdata/unshown.txt).
package main

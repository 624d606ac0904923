// Package prometheus holds surgegate's recording rules and alerts, with their tests in promtool's form; in Go it has only
// the tests that promtool cannot make.
//
//	surgegate.recording.yml   what alerts and dashboards share: rates, shares, room, burn
//	surgegate.slo.yml         the two promises: resets done in time, calls that are let in accepted
//	surgegate.work.yml        lanes, downstreams, demand
//	surgegate.alerts.yml      instances, their room, what operators did
//	*_test.yml                each alert fires, says what it should, and ends; calm tells nobody anything
//
// # What an alert promises
//
// It tells a person something to do: a page if people are hurt now or within minutes, a ticket otherwise. Its summary is a
// sentence with the number in it, its description says what to do first, its runbook (../runbooks/NAME.md, one an alert,
// with an index by what one sees) how to tell the causes apart. What surgegate does by design, shedding and limiting, is no
// error; the level is told because somebody should know.
//
// # Failure rules
//
//   - No data is not fine: SurgegateDown tells of an instance, of a job, and of everything that is gone.
//   - One cause, one alert: a downstream behind an open breaker is not slow as well, one that an operator holds back is
//     neither, and one that a starved surgegate measures is not slow.
//   - No flapping: a condition must hold (for), and an alert outlives it for some minutes (keep_firing_for).
//   - Few people are no storm: shares count only above a volume, burn rates from ten resets or calls on.
//   - No job is named: everything is told apart by job, what is a queue's or a process's by instance as well.
package prometheus

// Package observe tests whether dashboards, alerts and surgectl show what really happens: a real Prometheus scrapes the real program
// through a real storm, and its answers are compared with what the load generator, the store and the mail server counted.
//
//	people, a client in a loop ─► surgegate (process) ─► victim, SMTP server (here)
//	        │ counts                  ▲ scrape, 1 s           │ count
//	        │                    Prometheus (process) ◄── rules, dashboards
//	        └────────────► agreement ◄┘
//
// # Storm
//
// Storm runs four phases: calm, storm, dark (the store stands still), and recovery, until everybody has ended, nothing is queued and the
// level is 0. It asks Prometheus for
//
//   - every target of every panel and every recording rule: no error, no ±Inf, no remark of Prometheus's, a finite point;
//   - every alert's expression: no error, and each selector in it finds series;
//   - what must be so in a phase: shed only in the storm, the breaker open in the dark, …;
//   - counts: the same within 2 % for everything that both sides know;
//   - alerts: which fired, when, and how long after their phase began.
//
// Scrapes and evaluations are a second apart (15 s is usual), because the storm lasts a minute. No alert's "for" and no window is
// shortened: alerts that wait longer than the storm are tested by promtool and by Diagnose.
//
// # Diagnose
//
// Diagnose makes the faults of rows in faults.go that nobody announces, each in a world of its own, and asks surgectl each second what is
// wrong. Each row says which causes may be named first; every other finding that blames somebody is a wrong culprit, unless the row
// allows it as an effect of the fault. On a busy machine gateway_starved is always allowed. From 10 s after the fault on, the first cause
// must be a true one in 95 % of the samples; where there are several faults, as many samples must name all of them. No wrong culprit may
// be named for more than 5 s without a break. Fewer than half of the expected samples is a miss. With Alerts, rules keep their own
// intervals, and the time until the alert that names the fault is reported too.
//
// An error is a fault of the tool: a program that does not start, a query that cannot be sent. What does not agree is in the result.
// Processes are ended, and waited for, when a world is closed.
package observe

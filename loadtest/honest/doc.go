// Package honest asks whether somebody who has only dashboards, alerts and surgectl sees what really happens: a real
// Prometheus scrapes the real program through a real storm, and what it then answers is held to what the load generator,
// the store and the mail server have counted themselves.
//
//	people, a client in a loop ─► surgegate (process) ─► victim, SMTP sink (here)
//	        │ counts                  ▲ scrape, 1 s           │ count
//	        │                    Prometheus (process) ◄── rules, dashboards
//	        └────────────► agreement ◄┘
//
// # What is asked of Prometheus
//
//	every target of every panel       range query: no error, no ±Inf, no remark of Prometheus's, a finite point
//	every recording rule's expression the same
//	every alert's expression          no error; each selector in it finds series (an alert that does not fire is empty)
//	phases                            what must be so in a phase: shed only in the storm, the breaker open in the dark, …
//	counts                            the same within 2 %, for everything that both sides know
//	alerts                            which fired, when, and how long after their phase began
//
// Dashboards and rules are read by internal/queries, Prometheus is run and asked by internal/prom.
//
// # What is not as in production
//
// A scrape and an evaluation a second (15 s is usual), because the storm lasts a minute: rule groups lose their own
// intervals. Nothing else is shortened; above all no alert's "for", and no window. So an alert that waits longer than the
// storm lasts cannot fire here: that it does is shown by promtool's tests and, for faults, by Observe.
//
// # The storm
//
//	calm ──► storm ──► dark ──► recovery, until everybody has ended, nothing is queued and the level is 0
//
// Storm is more than the store takes, which is slow, with attackers and a client in a loop; in the dark the store stands
// still, and surgectl status has to say so. The queue's bound is small (queue.max_bytes), since levels follow shares of bounds.
//
// # Observe
//
// Faults that nobody announces, each in a world of its own and all at once, since each is a few hundred calls a second:
//
//	store-half      the store has half its speed, while more people come than it serves
//	store-dark      it stands still
//	mail-throttled  the provider takes a twentieth of the mails and answers 451 to the others
//	flood           one client, 300 calls a second
//	disk-filling    something else writes to the queue's disk (a mount of its own: root)
//	none            as store-half, without a fault: what fires here is a false alarm
//
// Rules keep their own intervals here, and a scrape is every 5 s: the times are those that an operator gets.
// For each fault the time from its beginning to the alert that names it, and whether surgectl status names it, is a row.
//
// # Failure rules
//
// An error is a fault of the tool: a program that does not start, a query that cannot be sent. What does not agree is a
// finding, in the result. Processes are ended, and waited for, when a world is closed.
package honest

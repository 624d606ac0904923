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
// Observe makes faults that nobody announces, each in a world of its own, and asks surgectl each second what is wrong. A fault
// is a row of rows in faults.go; several at once are rows, too:
//
//	none                  nothing happens: whatever is blamed is a false alarm
//	store-half            the store has half its speed, while more people come than it serves
//	store-dark            it stands still: calls hang
//	store-refuse          it answers every call RESOURCE_EXHAUSTED
//	store-unknown         it answers every SetPasswords UNKNOWN
//	store-crash           its process dies again and again, and comes back cold
//	mail-throttled        the provider takes a third of the mails and answers 451 to the others
//	mail-refuse           it answers 451 to all
//	mail-hang             it does not answer
//	hash-pool             more completions than the one slot hashes
//	disk-slow             a sync of the queue's disk takes 0.75 s (root, cgroup v1)
//	disk-filling          something else writes to the queue's disk (a mount of its own: root)
//	gateway-starved       four busy loops on the one core that the gateway may use
//	flood                 one client, 300 calls a second
//	lane-paused           an operator has paused apply
//
// Each row says which causes may be named first. Every other finding that blames somebody is a wrong culprit, unless the row
// allows it as something that the fault does to others. A finding that blames nobody (a level, a full queue) and a note are
// never wrong culprits. On a busy machine gateway_starved is always allowed, and may come first where all that can be seen of
// the fault is that things take long. From 10 s after the fault on, the first cause must be a true one in 95 % of the samples;
// where there are several faults, as many samples must name all of them; no wrong culprit may be named for more than 5 s
// without a break. Fewer than half of the samples that there should be is a miss, too.
//
// With Alerts Prometheus scrapes every 5 s, rules keep their own intervals, and the time until the alert that names the fault
// is told as well: that is the time that an operator gets.
//
// # Failure rules
//
// An error is a fault of the tool: a program that does not start, a query that cannot be sent. What does not agree is a
// finding, in the result. Processes are ended, and waited for, when a world is closed.
package honest

// Package breaker stops calls to a downstream that cannot take them, finds out with single real calls when it can
// again, and then leaves the speed to the pacer. One Breaker a downstream; counting and tripping are
// github.com/sony/gobreaker/v2's, the times around them are this package's.
//
//	          too many failures                     the wait is over, one call is let through
//	Closed ─────────────────────► Open ──────────────────────────────► HalfOpen
//	  ▲                             ▲                                     │  │
//	  │                             └── a probe failed or did not report ─┘  │
//	  └───────── Probes successes in a row: the pacer's ramp begins ─────────┘
//
// # Held by an operator
//
// Force holds it, for as long as the operator says, and lets go of it again:
//
//	any state ── ForceOpen ──► Open, held: every call is refused, asked again in 2 s
//	                             │ ForceNone
//	                             ▼
//	Open, its wait over ──► HalfOpen: a probe, and on as above: nobody is let out in a herd
//
//	any state ── ForceClosed ──► Closed, held: it counts and logs that it would have opened, and lets all through
//	                             │ ForceNone
//	                             ▼
//	Closed, nothing counted: what happened while it was held is held against nobody
//
// Either can follow the other. A change of state by force is one like any other, told and counted, but that Force itself
// says when it closed, so that the pacer resumes there too. Calls that were let through before counting began anew,
// probes among them, are not counted when they end.
//
// # Why a wrapper
//
//   - gobreaker's half-open state never expires: one hung probe blocks it for good. Here a probe has a deadline;
//     past it the probe counts as failed, whatever it reports later.
//   - gobreaker lets all of a half-open state's calls out at once. To a stalled store probes are load, so here one
//     probe is out at a time.
//   - gobreaker counts a call in the part of its window in which the call began, and failures in a row no further back
//     than the window: a mail server that hangs for 30 s, with a window of 10 s, would never open it. Here failures in a row
//     are counted without a window; for the share, Window should be twice the deadline of the calls.
//   - gobreaker waits the same time each time it opens. Here the wait doubles from OpenWait to MaxOpenWait and has a
//     jitter of ±20 %, so that replicas do not probe in step. It starts over once it was closed for Calm.
//   - gobreaker closes fully (Hystrix#1647: the herd that follows opens it again). Here the caller tells its pacer to
//     Resume when the breaker closes: speed, and so the ramp, is the pacer's alone.
//
// gobreaker reads the clock itself, for its rolling window only; everything else uses the time that is passed in, so
// tests run with testing/synctest, or with a manual clock where the window does not matter.
//
// # What is counted
//
// Failure: the downstream could not take the call (overload, time-out, connection refused). Success: it answered,
// also with faults of single items. Ignored: the call says nothing about the downstream (the caller gave up, the
// call was never sent); a probe that is Ignored frees its place and the next call is the probe.
//
// It trips on Consecutive failures in a row, or when at least FailureShare of at least MinVolume results within
// Window failed. Results of calls that began before the last change of state are not counted.
//
// # Failure rules
//
// No goroutine and no timer: an overdue probe is noticed by the next Allow, and only real calls are probes, so a
// breaker that opened stays Open while there is nothing to do. OpenError.RetryAt is when to ask again; while a probe is
// out it is the probe's deadline, and the end of that call may come before. A breaker holds no state across restarts:
// it starts Closed. Changes made by calls at the same time may be told to OnChange in another order;
// State tells which came last.
//
// Every change is logged: an opening and a closing as a warning, the opening with Deps.Cause. While a downstream is away
// each probe opens it again; that is a warning at most once a minute, and else, like a probe that goes out, for debugging.
package breaker

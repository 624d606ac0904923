// Package pace decides how fast a downstream is fed. One Pacer a downstream; it is pure: time comes in as an
// argument, verdicts and the next time to ask come out. It starts no goroutine, reads no clock, does no I/O, so
// production, tests and a simulator run the same code. It holds no lock either: the caller serialises.
//
// # How it is asked
//
//	v := pacer.Ask(now, kind, items) // before the lease, so that no lease runs out while it waits for its turn
//	if !v.Go { ask again at v.RetryAt; if that is zero, when a call ends }
//	start := now                     // lease up to v.Items, call the downstream
//	pacer.Done(now, Call{Kind: kind, Start: start, Items: sent, Unused: v.Items - sent, Outcome: …})
//
// Every Ask that was told Go is followed by exactly one Done. Where fewer jobs could be leased than were asked for,
// Unused gives the rest back; with nothing leased that is all of them, with OutcomeCanceled.
//
// # Duties of the caller (pkg/dispatch)
//
//   - A call that timed out still occupies the downstream. Its Done must not come before the deadline that the
//     downstream was given has passed there, even when the caller stopped waiting earlier: a slot freed too soon is
//     how time-outs pile up behind a stalled store. The Pacer cannot know that deadline; it only sees Done.
//   - Outcomes say what the downstream's load had to do with it. A refusal of one item (no such account, a weak hash)
//     is OutcomeOK for the call; a connection refused or RESOURCE_EXHAUSTED is OutcomeOverload. A call that the caller
//     gave up on its own is OutcomeCanceled: it says nothing about the downstream.
//   - The breaker says when to stop and when to probe; while it is not closed only its probes are asked for. When it
//     closes the caller calls Resume, and speed is the Pacer's again: there is one ramp, and it is here.
//   - Limits() is exported as metrics by the caller; this package registers none.
//
// # Fixed
//
// Fixed is a Pacer with a constant concurrency limit and a constant rate of items, both optional.
//
//	         ┌───────── in flight = Concurrency: RetryAt zero ◄────────┐
//	Ask ─────┤                                                         ├── Done
//	         ├── tokens < items: RetryAt = when they have refilled     │
//	         └── else: Go; in flight + 1, tokens − items ──────────────┘
//
// It never has more than Concurrency calls in flight, and in any span T it lets through at most Rate·T + Burst items
// and what calls that were open at its start give back within it.
// After Resume its concurrency and batch begin at RampInitial of their bounds and grow linearly over RampTime.
// But for that, RetryAt is exact: at that time, if nobody else has taken tokens, the same Ask is told Go.
//
// # The seam for the controller
//
// The controller that finds the capacity by measuring (completions by concurrency level, looks one step up and down)
// implements the same interface: Done gives it start, end, items and outcome of every call, Ask the demand, and
// Limits is where its present concurrency, rate and batch are read. It will need nothing more of the caller:
// a pause, its single probe and the growing batch are all verdicts of Ask. Of several replicas on one store each
// takes its share of one limit, so a share belongs to the controller's own configuration, not to this interface.
//
// # Failure rules
//
// An Ask for fewer than one item, and a Done without an Ask, panic: both are faults of the
// caller that would stall a lane for good or over-admit, and no configuration or peer can provoke them.
// Times that go back count as the latest time seen.
package pace

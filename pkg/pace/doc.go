// Package pace decides how fast a downstream is fed. One Pacer a downstream; it is pure: time comes in as an
// argument, verdicts and the next time to ask come out. It starts no goroutine, reads no clock, does no I/O, so
// production, tests and a simulator run the same code. It holds no lock either: the caller serialises.
//
// # How it is asked
//
//	v := pacer.Ask(now, kind, items) // before the lease, so that no lease runs out while it waits for its turn
//	if !v.Go { ask again at v.RetryAt; if that is zero, when a call ends }
//	start := now                     // lease up to v.Items, call the downstream
//	pacer.Done(now, Call{Kind: kind, Start: start, Items: sent, Unused: v.Items - sent, Grant: v.Grant, Outcome: …})
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
// # Chart
//
// Chart is a Pacer that finds the capacity. In one sentence: we keep a chart of delivered work a second by concurrency,
// take turns looking one step up and one step down, and move when the chart says that it pays.
//
//	            ┌───────────────── hurry: up by up to 2x while that pays ◄── start, resume, faster than before
//	            ▼                                                                        ▲
//	base ─► up ─► base ─► down ─► base ─► other batch ─► base …  (with headroom: a rest)  │ two ups in a row
//	            └─ pays ─► base moves ───────────────────────────────────────────────────┘
//
// A look is one measurement at one setting (calls at once × items a call): it settles until most calls from before the
// switch are back, and counts for a latency, 50 ms and 10 calls at least. A surplus of demand is needed: looks at which
// nobody waited for a slot are thrown away, so a quiet night teaches it nothing wrong.
//
// What pays is an elasticity: by how many per cent X grows for one per cent more in flight, e = Δln X / Δln n̄, with the
// standard error of its counts. A step up is kept if e is over 0.10 by a standard error, one down if it is under; what
// looks like a yes without being sure gets up to four times the evidence. In a hurry the bar is 0.35. Latency is not
// judged: the best point of a store with contention takes 2.8 times the latency of one caller, and a store that got
// slower but delivers as much must not be throttled. X decides.
//
//   - Work is counted in items; an item of another kind (a look-up beside a write) counts as much as it takes longer.
//   - The batch: a call of twice the items is kept if it delivers 3 % more, half of them if that delivers 5 % more.
//   - Change: a count of the base that is off its chart by 15 % and four standard errors wipes the chart. Slower: look at
//     as much less (half at most), and if that does not do, up in a hurry. Faster: up in a hurry.
//   - Failures of load over 8 % (and two standard errors) take 15 % off, over 25 % half. One of a hundred at random does
//     nothing. What began before a cut says nothing of the speed after it.
//   - Resume begins at a quarter of the last sound base, in a hurry. An outage that began as refusals at more in flight
//     than the base, or than had been survived lately, teaches a ceiling: 0.7 of that but at least the base, or 0.8 of it.
//     It rises by 2 % a minute.
//   - Headroom: once looks have settled it rests between rounds at base × (1 − headroom), rounded down, four times as long
//     as the round took. Every look is from the base itself, or the knee could not be seen. While it is finding out, and
//     where the base is a single call, nothing is left to others.
//   - Rate is an operator's bound. The Chart sets none itself: a cap at 0.95 of the measured best delivers 0.95 of it, is
//     measured again, and so on down (a prototype ended at 0.01).
//
// Where this differs from the prototype that it began from (package loadtest/pacelab measures both claims): evidence is
// weighed by a sequential test in place of half a standard error, which a store of a few calls a second made wander; in
// a calm the base is counted up to half a second, because looks cost 2 %; the outage's stop and probe are the breaker's,
// so that there is one; only what is above the survived concurrency teaches a ceiling, or every unrelated crash would.
//
// What it does not do (`storm bench --only control` has the figures): a store that gives few calls a second gives little
// evidence, so at 250 to 500 ms a call the worst seeds end at .70 to .85 of the best; work with a heavy tail (cv 2) makes a
// hurry overshoot, in the worst seeds to many times the knee; after a store got faster again with as much delivered, too
// much stays inside until looks down have found that out.
//
// Several replicas on one store share one Chart: package replica sums what they count at each Look and gives it to Count, in
// place of Ask and Done. Independent charts on one store each see what the others leave, and push it over.
//
// # Steered
//
// Steered is a Pacer that an operator steers while calls are out. It wraps a Chart (or a Fixed) and obeys an Override:
//
//	          Min, Max, Rate                         Concurrency, Rate, Batch
//	┌──────┐ ───────────────► ┌─────────┐ ─────────────────────────────────────► ┌───────┐
//	│ auto │                  │ bounded │                                        │ fixed │   each to each, at any time
//	└──────┘ ◄─────────────── └─────────┘ ◄───────────────────────────────────── └───────┘
//	   the Chart goes on; held at a        begins anew at the lesser of what it was and what was
//	   bound that is gone: in a hurry      fixed (on a ramp: had been reached), in a hurry
//
// Calls that are out, and the bucket of a rate, are handed over with each change, so that no slot or token is lost or made up:
// a call counts until its Done, whoever let it through, and where less is allowed than is out, nothing begins until so many
// are back. A rate that changes keeps what the bucket holds, up to the new burst; one that comes begins full; what was let
// through under none gives nothing back to the one that came since (Verdict.Grant). The burst is a tenth of a second's items,
// or a batch that was asked for.
//
// A fixed time teaches the Chart nothing: it sees no call of it but those that end after it, which began before a cut. Where
// bounds exclude the configured ones the operator's go before. Configure takes another configuration over in the same way,
// also one that measures in place of one that does not.
//
// # Failure rules
//
// An Ask for fewer than one item, a Kind that is not under MaxKinds, and a Done without an Ask, panic: they are faults of
// the caller that would stall a lane for good or over-admit, and no configuration or peer can provoke them.
// Times that go back count as the latest time seen.
package pace

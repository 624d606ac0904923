// Package pace decides how fast a downstream is fed. There is one Pacer for each downstream. It is pure: the caller passes
// the time in and serialises the calls. It starts no goroutine, reads no clock and does no I/O, so that production, tests
// and the simulator run the same code.
//
//	v := pacer.Ask(now, kind, items)  // before the lease
//	if !v.Go { ask again at v.RetryAt; if that is zero, when a call ends }
//	…                                 // lease up to v.Items, call the downstream
//	pacer.Done(now, Call{Kind: kind, Start: start, Items: sent, Unused: v.Items - sent, Grant: v.Grant, Outcome: …})
//
// # Duties of the caller (pkg/dispatch)
//
//   - Each Ask with Go is followed by exactly one Done. With nothing leased, Unused is all of the items and the outcome
//     OutcomeCanceled.
//   - The Done of a call that timed out comes no earlier than the deadline which the downstream was given: the downstream
//     may still be working on it.
//   - A refusal of one item is OutcomeOK for the call. OutcomeOverload means that load broke the call.
//   - The circuit breaker says when to stop and when to probe. When it closes, the caller calls Resume.
//
// # Fixed
//
// Fixed has a constant concurrency limit and a constant rate of items, each optional. After Resume its concurrency and batch
// grow from RampInitial of their bounds to the bounds within RampTime.
//
// # Chart
//
// Chart finds the capacity by measuring. It measures the base (the present limits), then a step up, the base again, then a step
// down, and sometimes another batch size. It moves the base to where more is delivered. One such measurement is a look.
//
//	base ─► up ─► base ─► down ─► base ─► other batch ─► base …
//
// At the start, after Resume, and when the downstream got faster, Chart is in a hurry: it makes one step up after the other,
// each of 1.5 times, while that pays.
//
// A look first settles until most calls from before it have ended. Then it counts for a latency, 50 ms and 10 calls at
// least. It is thrown away if it says nothing:
//
//   - A look at another number of calls counts only if the limit was what held calls back (RFC 7661 calls the other case
//     application-limited). Demand for larger calls allows looks at batches and nothing else.
//   - A look up does not count if another mix was in flight than at the base just before (point.differs).
//   - It does not count if the caller came late to look at the clock. A limit is not raised while SetStarved says that the
//     caller is short of processor time: its own delay would be taken for the downstream's.
//
// Two looks are compared by their elasticity: by how many per cent more is delivered for one per cent more in flight, with the
// standard error of the counts. A step up pays if that is over 0.10 (in a hurry 0.35) by a standard error; a step down pays
// if it is under 0.10. Latency is not judged: a store with contention takes 2.8 times the latency of one caller at its best point.
//
// # Several kinds of work
//
// A storm mixes look-ups, writes and revocations in shares that change every second. Therefore each kind is compared with itself
// only (point.efficiency), so that another mix is neither a gain nor a loss. Two limits hold together:
//
//   - calls at once;
//   - the cost in flight: the size of the calls (6 + items) times the weight of their kind. Weights are learnt from kinds that were
//     in flight at the same time, or from a kind that comes alone beside the fastest times of the others (weights). A kind that was
//     never seen counts as 100 of the cheapest until then. When a weight changes, all limits of the cost change with it, so that
//     they stand for the same work in flight.
//
// The limit of the cost follows what is in flight by a quarter. It is raised further only by a look in which it held calls back,
// and which paid. So what was found with cheap work is not spent on dear work. A chart for each kind was considered: each would
// see that more of its own calls deliver more of its own kind, at the cost of the others, as independent replicas do.
//
// # Change and failure
//
//   - A base that delivers 15 % and four standard errors more or less than before wipes what is known, and is looked for again.
//   - Failures of load over 8 % of the calls take 15 % off both limits, over 25 % half. Resume begins at a quarter of the last sound base.
//   - An outage that began as refusals, with more in flight than had been survived, sets a ceiling, which rises by 2 % a minute.
//   - Limits that nobody has used for 15 to 30 s shrink to 1.5 times what was used, and to no less than Start, as
//     soon as a look can be made again.
//   - Where too little is asked for to raise the limit, the return from an outage ends after 30 s without a failure.
//   - Headroom: between looks it rests at base × (1 − headroom), so that others have room at the downstream.
//
// Limits known: a store of a few calls a second gives little evidence; `storm bench --only control` has the figures.
//
// # Steered
//
// Steered wraps a Chart or a Fixed and obeys an operator's Override. Calls in flight and the bucket of a rate are handed over
// with each change, so that no slot or token is lost or made up. A time with a fixed pace teaches the Chart nothing.
//
// # Failure rules
//
// An Ask for fewer than one item, a Kind that is not under MaxKinds, and a Done without an Ask panic: they are faults of the
// caller that would stall a lane for good. A time that goes back counts as the latest time seen.
package pace

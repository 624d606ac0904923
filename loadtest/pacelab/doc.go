// Package pacelab runs pacers against models of stores in virtual time, so that a change of the controller is judged in
// seconds by seeds and not in hours by luck.
//
// # The run
//
//	pacer ◄── Ask/Done ── driver (a backlog that never ends, a pure breaker) ── calls ──► store model
//
// The driver asks for as many calls as the pacer lets go, whenever a call ends or the pacer said to come back. A call has
// a deadline; past it its permit is free and its outcome a time-out, but its work stays inside the store: else a store
// could never be buried. Everything happens in the order of (time, sequence); the same seed gives the same run.
//
// # Stores
//
// A Store shares its throughput among the calls inside (processor sharing). With N inside it completes μ(N) units of work
// a second:
//
//	workers  μ(N) = λ·min(N, c)
//	USL      μ(N) = λ·N / (1 + σ(N−1) + κN(N−1))       (Gunther's universal scalability law)
//
// A call of n items is a + b·n units; units are exponential or heavy-tailed (a lognormal of cv 2). A schedule changes the
// capacity while it runs; a crash bound empties the store when too much is inside.
//
// # What is judged
//
// goodput: items completed ÷ what the store could have completed at its best point and largest batch, after warm-up.
// inside ÷ knee: the calls inside, abandoned ones too, over the concurrency where μ stops growing.
// recovery: seconds from a step until the three that follow are within 10 % of the best together.
package pacelab

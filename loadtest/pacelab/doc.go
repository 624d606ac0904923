// Package pacelab runs pacers against models of stores in virtual time, so that a change of the controller is judged in
// seconds by seeds and not in hours by luck.
//
// # The run
//
//	         ┌─ Ask, Done ─► pacer
//	driver ──┼─ allow, report ─► breaker model      driver: a backlog that never ends
//	         └─ enter ─► store model ─ leave ─► driver
//
// The driver does what pkg/dispatch does: it asks for as many calls as pacer and breaker let go, whenever a call ends or
// one of them said to come back. A call has a deadline of 5 s; past it its permit is free and its outcome a time-out, but
// its work stays inside the store: else a store could never be buried. The same seed gives the same run. The breaker is a
// model, because gobreaker reads the machine's clock; loadtest/breakermodel holds it to pkg/breaker, call by call.
//
// What happens next is the earliest of: a call is done, a deadline, a refusal (1 ms after its call), the pacer's or the
// breaker's time to ask again, the end of a second, a step. Of what is due at once that order decides. An event takes
// 0.3 to 0.5 µs of one core with the chart and allocates nothing (BenchmarkEvents).
//
// # Stores
//
// A Store shares its throughput among the calls inside (processor sharing). With N inside it completes μ(N) units of work
// a second:
//
//	workers  μ(N) = λ·min(N, c)
//	USL      μ(N) = λ·N / (1 + σ(N−1) + κN(N−1))       (Gunther's universal scalability law)
//
// A call of n items is a + b·n units on average; work is exponential or heavy-tailed (a lognormal of cv 2). Steps change
// the capacity while it runs; creep changes it all the time. A store that stood still comes back at half speed for a
// minute. With too much inside it dies: all that was inside is broken within a millisecond, and until it is back it
// refuses.
//
// # Replicas
//
// RunGroup has several drivers on one store, each with its own pacer and breaker. Members of pkg/pace/replica tell each other
// what they count over a network that takes its time and can be silent; drivers with charts of their own are what to compare
// with. Who crashes starts no calls and says nothing; its calls end in the store.
//
// # What is judged
//
// goodput: items completed ÷ what the store could have completed at its best point and largest batch, after warm-up. While
// it is down after a crash it counts as able: the crash is the pacer's doing.
// inside ÷ knee: the calls inside, abandoned ones too, over the concurrency where μ stops growing.
// recovery: seconds from a step until the three that follow are within 10 % of the best together, less a standard error.
package pacelab

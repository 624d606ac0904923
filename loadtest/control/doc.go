// Package control compares pace controllers on models of stores in virtual time: surgegate's chart and well-known limiters (Compare).
// One run takes a fraction of a second, so a change of the controller is judged over many seeds.
//
//	         ┌─ Ask, Done ─► pacer
//	driver ──┼─ allow, report ─► breaker model      driver: a backlog that never ends
//	         └─ enter ─► store model ─ leave ─► driver
//
// The driver does what pkg/dispatch does: it asks for as many calls as pacer and breaker allow, whenever a call ends or one of them
// said when to ask again. A call has a deadline of 5 s. Past it its permit is free and its outcome a time-out, but its work stays
// inside the store. The same seed gives the same run. The breaker is a model because gobreaker reads the machine's clock;
// loadtest/breakermodel compares it with pkg/breaker, call by call.
//
// The next event is the earliest of: the end of a call, a deadline, a refusal (1 ms after its call), the pacer's or the breaker's time
// to ask again, the end of a second, a step. Of those at the same time, that order decides. An event takes 0.3 to 0.5 µs of one core
// and allocates nothing (BenchmarkEvents).
//
// # Stores
//
// A store shares its throughput among the calls inside (processor sharing). With N inside it completes μ(N) units of work a second:
//
//	workers  μ(N) = λ·min(N, c)
//	USL      μ(N) = λ·N / (1 + σ(N−1) + κN(N−1))       (Gunther's universal scalability law)
//
// A call of n items is a + b·n units on average; work is exponential or heavy-tailed (a lognormal of cv 2). Steps change the capacity at
// a moment, creep all the time. A store that stood still comes back at half speed for a minute. A store that dies of too much inside
// breaks all of it within a millisecond, and refuses until it is back.
//
// RunGroup puts several drivers before one store. Members of pkg/pace/replica tell each other their counts over a network with delay and
// silences; drivers with a chart each are the reference.
//
// # What is judged
//
//   - goodput: items completed ÷ what the store could have completed at its best point and largest batch, after warm-up. A store that is
//     down after a crash counts as able, because the crash is the pacer's fault.
//   - inside ÷ knee: the calls inside, abandoned ones too, divided by the concurrency at which μ stops growing.
//   - recovery: seconds from a step until three seconds together are within 10 % of the best, less a standard error.
package control

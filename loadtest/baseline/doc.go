// Package baseline has the concurrency limiters that surgegate's own controller is compared with, each as a pace.Pacer, so
// that one harness drives them all in the same run. It is for comparisons only: nothing in pkg imports it.
//
//	name       what it does                                                             source
//	nothing    lets everything in, up to Most calls                                     –
//	fixed      a token bucket of a configured rate                                      pace.Fixed
//	aimd       +1 with each answer, ×0.9 with each drop                                 Netflix concurrency-limits, AIMDLimit
//	gradient2  limit × long-term ÷ present latency + 4, smoothed, once a second         …, Gradient2Limit in a WindowedLimit
//	vegas      keeps the queue, limit × (1 − least ÷ present latency), within 3..6 lg   …, VegasLimit
//	failsafe   failsafe-go's adaptive limiter v0.9.8, the library itself                github.com/failsafe-go/failsafe-go
//
// # What is theirs and what is ours
//
// The formulas and constants of aimd, gradient2 and vegas are those of github.com/Netflix/concurrency-limits (Apache 2.0),
// read there and written anew; the code is ours. Constants are that library's defaults, but for the bounds of the limit:
// 1 to 2000 for everybody here (Netflix: 20 to 200, 1 to 1000; failsafe-go: 1 to 200), because the stores of the
// comparison have knees from 4 to 400 and nobody is told where. What that library leaves to its caller:
//
//   - a sample is one call, a batch too: these limiters know nothing of items, so batches are as large as Config.Batch;
//   - OutcomeOverload and OutcomeTimeout are drops, OutcomeError and OutcomeCanceled are ignored, as in its gRPC adapters;
//   - "in flight" of a sample is what is in flight when the call ends, itself included; that library remembers what it
//     was at the call's start. Under a standing backlog both are the limit;
//   - gradient2 sits in that library's window of a second (mean latency, most in flight, at least ten samples), as its
//     README tells; aimd and vegas take each sample, as its builders do.
//
// None of them knows an outage: Resume changes nothing, and there is no ramp.
//
// # How failsafe-go is driven in virtual time
//
// The library offers no seam: a permit reads time.Now when it is acquired and its own wall clock when it is recorded, and
// both are out of reach for other packages; testing/synctest would do it, but cannot ship in a command. But a permit is a
// struct with a start time and a clock that is an interface, and everything else that the limiter does follows from the
// time that the permit hands on: so Failsafe sets these two fields, by reflection and with package unsafe, before it
// records a permit. The library's code is untouched and runs as it is, with latencies and window times in the caller's
// time. Its "in flight" of a permit is what it saw at the Ask; permits are ended in the order of their Asks, because a
// pace.Call does not say which one it ends.
//
// The fields are those of v0.9.8. NewFailsafe returns an error when they are not there or of another type, and a test
// shows that time is really virtual: half an hour of it passes in milliseconds and the limit follows. The library's times are
// counted from the year 2200, because a limiter begins with the wall clock's time as that of its next update and would
// otherwise wait for it.
//
// # Failure rules
//
// As in pkg/pace: an Ask for less than one item and a Done without an Ask panic.
package baseline

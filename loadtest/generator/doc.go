// Package generator measures the load generator itself (loadtest/schedule and loadtest/wire, as `storm run` uses them)
// beside ghz and k6, all against the same bare gRPC echo server in one run.
//
//	highest rate       open loop from an absolute schedule at rising rates, by a process with GOMAXPROCS=1: the highest rate whose
//	                   lag p99 is at most 5 ms and whose calls all succeed
//	calls per CPU-s    calls that succeeded ÷ user and system time of the client's process; medians of interleaved rounds. Ours at
//	                   the highest rate, ghz and k6 as fast as they can with the concurrency that suits them best of some,
//	                   and the same number of connections (k6 has one for each virtual user)
//	memory             live heap and resident memory at checkpoints; the slope of the least squares line through the second half of
//	                   them, times 100 M calls
//
// Ours pays for what a storm needs: each request is marshalled and each response unmarshalled, a reply goes back to the
// schedule's goroutine, and latency is recorded from the intended time. ghz sends one message again and again; k6 is told to drop
// the responses. Their time counts from start to exit of the process, but they run long enough for their start not to matter.
//
// Client and server share the machine's cores in all of them; the server's time is not counted for anyone.
package generator

// Package uninstrumented builds a program of this module without its instrumentation: the reference beside which the cost
// of metrics is measured.
//
// A registry that nobody scrapes is no such reference, because counting costs whether somebody looks or not, and a switch
// in the product would be there for the benchmark alone, and be a branch in the very path that is measured. So the same
// source is built once more, with altered copies of two libraries' modules in the place of those:
//
//	client_golang/prometheus            Inc, Add, Set and Observe of counters, gauges, histograms and summaries return at once
//	go-grpc-middleware's prometheus     the server's interceptors call the handler and nothing else
//
// The copies are made at each build from the module cache: a return put before the first statement of each function. What
// is left in is the calls of these empty functions, the reading of the clock before and after a call, which other things
// need too in places, and looking up a child of a vector where the product does. What they cost is missing from the
// difference: a few tens of nanoseconds a call.
//
// It needs the Go command, and the module's source as the working folder. A function that a library's new version no longer
// has is an error: the reference would be instrumented in part, and nobody would see it.
package uninstrumented

// Package tracing is how surgegate's own code speaks of traces: the spans that it makes, what they may say, and the way of
// a trace from a call through the durable queue to the work that is done for it. Who exports them is pkg/tracing/otlp's.
//
// # A reset's trace
//
//	caller's span (trusted callers' only)
//	  └─ public call, such as PasswordReset/StartReset       reset.Job.Trace, in the queue, only if the trace is kept
//	       └─ enqueue                                               │
//	                            minutes or hours                    ▼
//	batch start ··link··► the calls of its jobs      followed by jobs that carry the same Trace on:
//	  └─ call store                                  batch mail, batch hash, batch apply, batch revoke, each linked
//
// The work is linked to the call, not its child: hours may lie between, a trace is not held open so long by any collector,
// and one batch works for many calls. A batch has a span only if one of its jobs carries a trace, and at most MaxLinks
// links; its span is then kept whatever the ratio says, or the call's trace would end at the queue. A coalesced ask has
// a place in line and no job, so its trace ends with its enqueue; the job is linked to the ask that it came from. The trace of
// an ask ends at the look-up, for whoever there is an account: who sees traces must not see which asks led to a mail.
//
// # What spans may say
//
// Attributes are set here and nowhere else, so that the set is closed: lane, verdict, downstream, outcome (words of the
// metrics' label sets) and counts. Never an account, address, ip, token, ticket or identifier. The exporter drops
// whatever is not in Keys, also from libraries' spans.
//
// # Off
//
// A nil *Tracer is off: every method returns at once, allocates nothing and leaves the context as it is
// (BenchmarkTraced in pkg/gate measures it). So nobody but this package and its adapter imports OpenTelemetry: the layers
// below the edge see one concrete type, and the accept path has no interface call to a tracer that does nothing.
//
// # Exemplars and logs
//
// Observe attaches the trace id to a histogram's observation if the trace is kept: an exemplar that leads to a trace which
// nobody has is worse than none. NewLogHandler adds trace_id and span_id to the lines that are logged with the context of a
// traced call or batch, under the same condition.
package tracing

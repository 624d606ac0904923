// Package tracing makes the spans of surgegate's own code, and says what they may contain. pkg/tracing/otlp exports them.
//
// # The trace of a reset
//
//	caller's span (trusted callers only)
//	  └─ public call, such as PasswordReset/StartReset       reset.Job.Trace, in the queue, only if the trace is kept
//	       └─ enqueue                                               │
//	                            minutes or hours                    ▼
//	batch start ··link··► the calls of its jobs      followed by jobs that carry the same Trace:
//	  └─ call store                                  batch mail, batch hash, batch apply, batch revoke, each linked
//
// The span of a batch is linked to the calls it serves instead of being their child: hours may pass between them, no collector keeps a
// trace open so long, and one batch serves many calls. A batch has a span only if one of its jobs carries a trace, and it has at most
// MaxLinks links. Its span is then always kept, otherwise the call's trace would end at the queue. A start that joins an open job has no
// job of its own, so its trace ends with its enqueue. The trace of a start ends at the account look-up, whether or not there is
// an account: a longer trace would reveal which accounts exist.
//
// # What spans may say
//
// Only this package sets attributes, so the set is closed: lane, verdict, downstream and outcome (words from the label sets of the
// metrics), and counts. A span never names an account, address, ip, token, ticket or identifier. The exporter drops every
// attribute that is not in Keys, also from spans of libraries.
//
// # Without tracing
//
// A nil *Tracer is off: every method returns at once, allocates nothing and leaves the context as it is (BenchmarkTraced in pkg/gate
// measures it). Only this package and its adapter import OpenTelemetry.
//
// # Exemplars and logs
//
// Observe attaches the trace id to a histogram's observation as an exemplar, and NewLogHandler adds trace_id and span_id to log lines.
// Both do so only if the trace is kept: an id that leads to no trace is worse than none.
package tracing

// Package operator is the operators' service, surgegate.operator.v1.Operator: it tells the state, changes what can be overridden,
// and writes the audit trail. It stands above dispatch, admission, gate and pace and uses their types. It listens nowhere; edge
// serves it on a listener with authentication.
//
// # An override's life
//
//	     Set: [audit + record] durable, then applied
//	none ────────────────────────────────────────────► in force ──Set──► in force, the new one
//	 ▲                       │ applying fails               │  │
//	 │◄── [audit "…_undone"] ┘                              │  ├─ Lift: [audit + record gone] durable, then reverted ──►┐
//	 │                                                      │  └─ its time is over: reverted, then [audit + gone] ─────►│
//	 └──────────────────────────────────────────────────────┴───────────────────────────────────────────────────────────┘
//
// What is in brackets is one atomic write to the queue's records. After a restart Load puts an override into force for the time
// that is left. There is at most one override on a target; when it ends, the present configuration applies, never an override
// before it. Changes run one after the other, so of two operators the last one wins, and both are audited.
//
// An override ends when the wall clock reaches its expire time, or when the timers have counted its duration, whichever is first.
// So a clock that is set back cannot keep it in force for ever. After a restart only the wall clock counts.
//
// # Status
//
// GetStatus reads memory only. If a stalled disk holds the queue's counters, it answers after 100 ms with those read last. Rates are
// of the last 10 seconds. Run evaluates the diagnosis (pkg/diagnosis) once a second, and every caller sees the last evaluation.
//
// GetTicket tells no more than the ticket's holder is told (see gate.Inspection): where the job of a start is would tell who has an
// account. Clients in ListLimitedClients are in memory only, never in a log, metric or audit entry.
//
// # Failure rules
//
//   - What cannot be audited is not done. The queue's records live from the disk's reserve, so this means a fault of the disk.
//   - What was audited and could not be applied is undone, and a second entry ("…_undone") says so.
//   - An override whose time is over is reverted even if the disk takes no record of it; the record is tried again every second.
//   - An override that cannot be reverted stays listed, is logged, and is tried again every second.
//   - A record that cannot be read or applied at the start is dropped, which is logged and audited. It does not stop the start.
//   - What was audited is done even if the caller goes away.
//   - A bad field is INVALID_ARGUMENT with all bad fields; what does not exist is NOT_FOUND; a reload that is impossible is
//     FAILED_PRECONDITION. Each says what to do.
//   - WatchStatus ends with the caller or, with DRAINING, with the process. A slow reader gets fewer answers.
package operator

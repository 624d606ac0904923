// Package operatorapi is the operators' service, surgegate.operator.v1.Operator: it checks what is asked, has it done, and
// puts what is into words and numbers. It listens nowhere; edge serves it behind its own listener and authentication.
//
// # A change's way
//
//	call ─► fields ─► steer.Book: turn ─► [audit + override] durable ─► knob ─► Change, with what to expect of it
//
// Parked jobs are no overrides: they are looked up, audited, changed, and where the outcome differs from what was audited
// a second entry says so.
//
// # Seeing in a storm
//
// GetStatus reads memory only: the queue's counters under a lock that the committer holds for microseconds, the book's
// list, and rates that were made before. Where the lock is held for longer, because the disk stalls the engine's writes, the
// counters read last are told after 100 ms. So it answers while commits stall; after ten seconds of that rates are 0. Rates are of
// the last ten seconds, from one look a second at the counters of the dispatcher, and for admission at those that /metrics shows. Who is at the second listener does not stand in line with callers: its connections,
// streams and caps are its own, only the processors are shared.
//
// # The diagnosis
//
// Run evaluates the diagnosis (pkg/diagnosis) once a second, with nobody asking, so that it has a past, and each change of an
// operator's once more. GetStatus, WatchStatus and the metric surgegate_diagnosis tell the last evaluation: everybody sees the same.
//
// # What is not told
//
// GetTicket tells what the person who holds the ticket is told, from the same place (gate): a ticket of an ask is
// accepted, then done, at a moment that was fixed before anything was looked up. Lane, retry and position of the job behind
// it would tell operators, and everybody whom they tell, who has an account. It needs the whole ticket id, which cannot be
// guessed, and has no search by account, address or identifier. Clients in ListLimitedClients are addresses and ids as
// callers gave them; they are in memory only and never in a log, metric or audit entry.
//
// # Failure rules
//
//   - Whoever cannot be audited changes nothing: the queue's error comes back, as UNAVAILABLE where the disk is at fault.
//   - A bad field is INVALID_ARGUMENT with every bad field named, and what to write instead.
//   - What is not there (a target without override, an unknown ticket) is NOT_FOUND; what cannot be as things are (a reload
//     without a file, or of a key that needs a restart) is FAILED_PRECONDITION, and says what to do.
//   - A caller who goes away after the audit entry was written changes nothing about it: what was audited is done.
//   - WatchStatus ends when the caller goes, and with DRAINING when the process does; a slow reader gets fewer answers, never
//     a queue of old ones.
//   - The clock of the rates may jump: samples out of order are dropped, so a rate may be missing for ten seconds.
package operatorapi

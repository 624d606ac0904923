// Package queue defines the interface of the durable queue. A job that Enqueue acknowledged survives kill -9 and power
// cuts. It is handed out at least once and ends exactly once.
//
// # Life of a job
//
//	Enqueue ─► waiting ──Lease──► leased ──Finish──► ended (with follow-ups and records in the same atomic write)
//	             ▲  ▲                │ │
//	             │  └─ lease expired ┘ ├──Retry──► retrying ──NotBefore──► waiting
//	             │                     └──Park───► parked ──GiveUp, expiry, a new job with its key──► ended
//	             └───────────────Requeue────────────┘
//
// A lane has one line for each class. All jobs of a lower class are leased before any of a higher one. In a line retries
// that are due go first, then jobs in the order of arrival.
//
// # Semantics
//
//   - Enqueue judges each Item by itself. An item (mark and job) is atomic, the slice is not. What was accepted is
//     durable when Enqueue returns.
//   - Start and mail: a second job with the key and class of an open one joins it. It does not join a job of another
//     class, because a person must not wait for a suspect who asked first. A joined start gets a place of its own at the
//     end of the line, which is passed like any other, so nobody can see whether they were the first to ask. A link mail
//     joins until the open one is leased. Nothing joins a parked job: the new job takes the key and ends the parked one as
//     superseded in the same atomic write.
//   - Hash and apply share one key an account. A job with a higher Sequence ends the open one, in either lane, as
//     superseded in the same atomic write. A follow-up with a lower Sequence than the open job ends as superseded itself.
//   - Unique jobs neither join nor supersede.
//   - Marks: a MarkRaise is refused with ErrMarkSpent, and nothing is written, unless the account's mark is absent or
//     equals TokenMark. The raised mark is max(old+1, TokenMark+1, accept time in µs) and becomes the job's Sequence. A
//     repeat with the Request that raised the mark gets the first ticket's Ref and Replayed.
//   - Leases expire. When the job was handed out again or superseded, Finish, Retry and Park with the old lease return
//     ErrLeaseLost and write nothing. When it has expired but was not handed out again, they may succeed.
//   - A start's ticket becomes DONE at the time of the Lease that first passes its place, plus LeaseRequest.DoneAfter.
//     Nothing changes that time later. Status.DoneTime tells it, and only once it is durable.
//   - A position is the ordinal minus what has been passed, so it never grows for one ticket. Hash and apply are one line
//     for this: passed counts the jobs that ended or were leased in their last lane.
//   - PutAll writes all records or none, so that an action and the record of it are durable together.
//   - Final tickets are readable for the retention, then ErrNotFound.
//   - Conservation: in every snapshot enqueued = ended + held.
//
// # Failure rules
//
// An engine that cannot write durably for now returns ErrNotDurable from Enqueue, and lets jobs end as long as it can.
// After a failed fsync nothing can be trusted: the engine calls its fatal hook and the process must end. ErrFull means
// that a bound is reached. After Close every call returns ErrClosed.
//
// Every engine passes the conformance suite in queue/queuetest.
package queue

// Package queue is the port to the durable queue: what was acknowledged survives kill -9 and power cuts, and is worked
// at least once; what an engine is asked to end ends exactly once.
//
// # A job's life
//
//	Enqueue ─► waiting ──Lease──► leased ──Finish──► ended (+ follow-ups and records in the same atomic write)
//	             ▲  ▲                │ │
//	             │  └─ lease expired ┘ ├──Retry──► retrying ──notBefore──► waiting
//	             │                     └──Park───► parked ──GiveUp, expiry, a new job with its key──► ended
//	             └───────────────Requeue────────────┘
//
// A lane is three lines, one a class; all of a lower class are leased before any of a higher one, inside a line the
// order is the order of arrival, and retries whose time has come go first.
//
// # Semantics
//
//   - Enqueue judges each Item by itself; an item (mark, job, records) is atomic, the slice is not. When it returns,
//     what was accepted is durable.
//   - Keys: in LaneStart and LaneMail a second job with the key and class of an open one joins it (coalesces); of a
//     slower class it would wait for a suspect who asked first. A joined start still gets a place of its own at the
//     end of its line, which the lane passes like any other, so that nobody can see whether he was the first to ask.
//     A link mail joins the account's link mail until that is leased. Parked ones are not joined: nobody should wait
//     for an operator, who has all that an outage parked before him. The next job takes the key over and ends the
//     parked one superseded in its own atomic write. LaneHash and LaneApply share one key an account and supersede: a
//     newer Sequence ends the older job, in either lane, in its own atomic write; a follow-up whose account has a
//     higher Sequence ends superseded instead of being enqueued. Unique jobs do neither.
//   - Marks: a MarkRaise is refused with ErrMarkSpent, and nothing is written, unless the account's mark is absent or
//     equals TokenMark. The raised mark, max(old+1, TokenMark+1, accept time in µs), becomes the job's Sequence. A
//     repeat with the Request that raised the mark gets the first ticket's Ref and Replayed.
//   - Leases expire. Finish, Retry and Park with a lease that has expired and been handed out again, or whose job was
//     superseded, are refused with ErrLeaseLost and leave nothing behind. Expired but not handed out again, they may
//     succeed, and the job is not handed out again.
//   - A start ticket's DONE is fixed when the lane first passes its place: lease time plus LeaseRequest.DoneAfter,
//     durable before Lease returns; Status.DoneTime tells it. Nothing that happens later changes it.
//   - Position is ordinal minus passed, so it never grows for one ticket. A completion's line is hash and apply
//     together: passed counts those first leased in their last lane or ended before.
//   - PutAll writes records together or not at all, so that what was done and the record of it cannot part.
//   - Final tickets are readable for the retention, then ErrNotFound.
//   - Conservation: enqueued − ended − held is 0 in every snapshot.
//
// # Failure rules
//
// An engine that cannot make things durable says ErrNotDurable to Enqueue and goes on with everything that ends jobs
// as long as it can. After a failed fsync nothing can be trusted: the engine reports through its fatal hook and the
// process ends. ErrFull is a bound, not a fault. After Close every call returns ErrClosed.
//
// Engines pass the exported suite in queue/queuetest.
package queue

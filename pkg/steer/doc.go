// Package steer is the book of what operators have changed: overrides that stand for a while, and the audit trail of
// everything that was done. It decides when an override begins and ends; what it turns are Knobs.
//
// # An override's life
//
//	        Set: [audit + record] durable, then applied
//	absent ─────────────────────────────────────────────► in force ──Set──► in force, the new one
//	  ▲                       │ applying fails               │  │
//	  │◄── [audit "…_undone"] ┘                              │  ├─ Lift: [audit + record gone] durable, then reverted ──►┐
//	  │                                                      │  └─ its time is over: reverted, then [audit + gone] ─────►│
//	  └──────────────────────────────────────────────────────┼───────────────────────────────────────────────────────────┘
//	restart: record ──Load──► in force for what is left ─────┘   (over meanwhile, or cannot be applied: audited, gone)
//
// What is in brackets is one atomic write to the queue's records, so an override and the record of who set it are on disk
// together or not at all. One override a target; a new one takes the place of the old, and what both leave behind when
// they end is the configuration as it is then, never the override before. Changes take turns: of two operators at once
// the last wins, both are audited, and no mixture of theirs is ever in force.
//
// # Time
//
// An override stands for an hour if nobody says otherwise, for a minute at least (shorter, it would be over before its
// effect can be seen) and for seven days at most (longer, it is configuration). It ends when either clock says so: the
// wall clock has reached its time, or as much time as it had left has passed by the timers, which do not follow a wall
// clock that is set back. So a clock that jumps ahead ends it early, and one that jumps back cannot make it stand for
// ever. After a restart, which the timers do not outlive, it has what is left by the wall clock and never more than it was
// given. Both are looked at once a second.
//
// # Failure rules
//
//   - What cannot be audited is not done: the queue's records live from the disk's reserve, so this means a fault.
//   - What was audited and then could not be applied is undone, and a second record ("…_undone") says so; the override
//     that stood before is in force again, for what it has left.
//   - An override whose time is over is reverted even if the disk takes no record of it: a lane must not stay paused for
//     ever because a disk is full. The record is tried again every second; after a restart Load finds it over and writes it.
//   - One that cannot be reverted stays listed, is logged, and is tried again every second.
//   - A record that cannot be read, cannot be set any more, or whose target is gone, is deleted with a line in the log and in the
//     audit trail: it must not stop a start in the night.
//   - A dry run checks, looks and says; it writes and changes nothing.
//   - Words are for who is called at 3 a.m.: what was, what is, what to expect. They name no person.
//
// # Formats
//
// queue.RecordOverride: the key is the target, the value JSON (record). It has no expiry in the queue: its end is to be
// audited, not to happen unseen. queue.RecordAudit: the key is the time in µs, 20 digits, later than the last one's even
// where the clock was set back, and a random id, so that key order is the order of doing; the value is JSON (Entry). Nothing
// of it is ever rewritten, and it does not expire.
package steer

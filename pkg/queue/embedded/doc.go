// Package embedded is the queue engine for one machine. It keeps the queue in Pebble, an LSM tree with a write-ahead log.
//
// # How a change becomes durable
//
//	callers ─► requests ─► commitLoop ─► batch ─► Apply (WAL, visible) ─► syncLoop ─► fsync is done ─► answers
//	                       a group of up to 512                the next group is made while this one is written
//
// One goroutine, commitLoop, makes all changes. It takes the requests that have piled up, runs them one after the other
// on the memory image and on one Pebble batch, and applies the batch. There are no transactions and no conflicts. A second
// goroutine, syncLoop, waits for the fsyncs in the same order and answers.
//
// An acknowledgement cannot be lost, because every answer obeys one rule: it says nothing that is not durable.
//
//   - A change is answered after the fsync of its group. A group is durable only after all groups before it.
//   - A group that wrote nothing is answered after the groups before it, whose writes it may have seen.
//   - A read takes the latest group together with what it reads, under Engine.mu, and waits for that group. A ticket that
//     is final waits only for the group that ended it, a mark for the one that raised it: later groups change neither.
//   - A Lease may be answered before its own fsync, but only if its jobs are durable: see submitLease.
//
// So on an idle gateway a completion waits for two fsyncs, one for the job and one for its end.
//
// # States of a job
//
//	in line (waiting, or leased)  key j   leased is in memory only
//	retrying                      key a   and r, its time
//	parked                        key a   and p and i, for operators
//	ended                                 the ticket's last state stays for the retention
//
// keys.go has the layout of all keys and records.
//
// A job has a sequence, which orders its lane and class on disk, and an ordinal, with which tickets count. Hash and apply
// share their ordinals, so a job keeps its own when it goes from one to the other. In the start lane, passed is the last
// place that a Lease has gone by; coalesced starts have places too, or people could tell that they were not the first. In
// the other lanes, passed counts the jobs that have ended and those that are open but were leased in their last lane
// before. It never falls, over a crash either: the lease that raises it writes it.
//
// # Memory and recovery
//
// In memory are the counters, all leases, the first 1024 places of each line (at most 2 MiB), and for each retry its time
// and its place (about 120 bytes; twice that for an interactive one). A look-up in the database costs most when the key is
// absent, as most open keys and marks are. So a filter remembers which of them were written lately; the others are looked
// for in tables only, where Pebble's Bloom filters answer.
//
// Open reads the counters, the retries and the head of each line. The counters are in the same batch as what they count,
// so they need no check. Leases end with the process: their jobs are in line, retrying or parked, and are handed out again.
// Every 16,384 places the part of the disk behind a line's head is deleted as one range, and Open begins after it.
//
// # Where the interface leaves a choice
//
// Finish, Retry and Park succeed after the lease's deadline until the job is handed out again; Extend does not. A requeued
// job is a retry that is due, so it goes ahead of the line. A mail that is retried or parked takes its key again unless a
// later mail has it. A coalesced start is refused when the queue is full, as a job is. Lease, Extend, Finish, Retry and Park
// do not heed the end of their ctx once the committer has the request.
//
// # Time
//
// The queue's time never goes back, over restarts either. It is the machine's clock, or the latest time used before if that
// is later. While the machine's clock is more than a second behind, the queue's time goes on at the pace of the monotonic
// clock, so that nothing stands still. Leases, passages and the retention use it.
//
// Times that callers give are compared with the machine's clock, which is theirs too: when a mark, a record or a sealed
// password expires, and when a retry is due. Otherwise a machine whose clock was a year ahead for a moment would treat every
// new mark as expired, and a link could be used again and again. DoneTime is told by the machine's clock too.
//
// What happens while a clock is set forward is not undone. Leases expire early, which costs work twice. What is past its
// time is deleted, marks included. So a link that was used can be used a second time if the clock jumps ahead by more than
// the link's remaining life and then back.
//
// # Failure rules
//
//   - The free disk is below the reserve: Enqueue returns ErrNotDurable and everything else goes on. Enqueue is accepted
//     again when the free disk exceeds the reserve by the hysteresis. The free disk is read once a second.
//   - The disk is full: Pebble's write gets ENOSPC, the ballast file is deleted, Pebble writes again, and Enqueue is
//     refused. The ballast is made again when there is room for it above reserve and hysteresis.
//   - A commit, WAL write, fsync or manifest write fails, or a record cannot be decoded: nothing can be trusted any more.
//     Every call returns ErrNotDurable, nothing is acknowledged, and Deps.Fatal is called once, on the goroutine that saw
//     the failure. The process must end. The next Open finds everything that was acknowledged. Pebble reports these failures
//     through Logger.Fatalf, a panic or SyncWait. After one the database cannot be closed; Close stops only the engine's own
//     goroutines.
//   - A flush or compaction fails: Pebble tries again, because the input is still there.
package embedded

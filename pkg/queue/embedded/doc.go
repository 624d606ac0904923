// Package embedded is the queue engine for one machine, on Pebble.
//
// # One committer
//
//	callers ─► requests ─► committer ─► batch ─► Apply (WAL written, visible) ─► syncer ─► fsync done ─► answers
//	                          ▲ group of up to 512            the next group is made while this one syncs
//
// Everything that changes the queue is a function run by one goroutine, in order, on memory and on one Pebble batch;
// there are no transactions to conflict. A group is what has piled up while the last one was made: at 256 callers 50
// to 150 requests, one fsync. A group that wrote nothing is answered after those before it, so no answer, not even a
// lease or a ticket's state, tells of something that a power cut could still take back. A lease tells of jobs, not of
// what it writes itself (who has passed): where nothing else in its group wrote anything, it is answered once the groups
// before are durable. A ticket that is final changes no more: it waits for the group that ended it, not for later ones;
// a mark for the one that raised it.
// So an idle gateway's completion waits for two fsyncs in a row, the job's and the end's. Look-ups go through one
// iterator a group with SeekPrefixGE and bloom filters on the last level too: 3.6 µs for an absent key where db.Get
// takes 12.8 µs (15 million jobs in place). Keys that the group itself has written are found in an overlay;
// open keys and marks that a small filter says were not written lately are looked for in tables alone (see recent).
//
// # Keys
//
// Numbers are big-endian; lane and class are bytes; ids and keys are 16 bytes; times are µs since 1970.
//
//	j lane class seq          job, or the place of a coalesced ask: waiting or leased
//	a lane class seq          job that is aside: retrying or parked
//	r lane class at seq       retries by their time                          accept (8)
//	p since lane class seq    parked, oldest first                           cause
//	i job-id                  parked, by id                                  its p key
//	e lane at class seq       jobs that expire, by when                      (empty)
//	k lane key class          who holds a key; hash uses apply's, no class   below
//	m account                 mark                                           below
//	t ticket-id               ticket that is not a start's                   below
//	s class up-to             passage of the start line                      from (8) done-time (8)
//	d kind 0 key              record          version 1 | version (8) | expires (8) | value
//	x hour key                what may be dropped after the hour: t, m, d    (empty)
//	c                         the counters, as uvarints in the order of the struct
//
//	job    0         1       2      3       4          8         16         24       32        40
//	       format 1 | flags | lane | class | attempts | ordinal | sequence | accept | expire | at |
//	       48   64       80    96        112              116
//	       id | ticket | key | account | payload length | payload | trace (25, with flag 32)
//	place  format 1 | flags | accept
//	ticket format 1 | state | reason | lane | class | flags | seq (8) | ordinal (8) | update (8)
//	mark   format 1 | lane | class | mark (8) | expire (8) | request (16) | ticket (16) | ordinal (8) | accept (8)
//	open   format 1 | class | seq (8)                          start: joined unless that place is parked
//	       format 1 | class | seq (8) | ticket (16)            mail: joined unless that place is leased or parked
//	       format 1 | class | seq (8) | job without payload    hash, apply: enough to end it superseded
//	flags  1 place, 2 unique, 4 passed, 8 retrying, 16 parked, 32 traced
//
// A job whose call is traced has the call's trace behind its payload. Records of versions that knew no traces have the flag
// clear and read as before; the other way around, such a version takes a traced record for a damaged one: going back to it
// wants the traced jobs ended first. The 25 bytes are not in Stats.Bytes: an open key, which tells the job's size, has none.
//
// There is no partition byte: one machine needs none. A start ticket has no record of its own: its state follows from
// its place and the first passage at or after it.
//
// # What is in memory
//
// Leases: their holders die with the process, so after Open whatever had not ended is waiting, retrying or parked.
// Of each line the next 1024 jobs (2 MiB at most); the rest is read when they are gone. Of each retry its time and
// place, about 120 bytes, and of an interactive one its accept time as well, as much again. The counters, written with every commit, so that Open counts nothing: it reads them, the
// retry index and the head of each line. Behind a line's head, every 16,384 places, what was deleted one by one is
// deleted once more as a range, and the floor from which the next Open reads is moved up.
//
// Measured with 5 million jobs, a third of them completions, on 2 cores that others used as well (load 4): 243 MiB
// resident after the load, 0.75 GB of disk, reopened in 0.36 s; at 256 callers 85,000 starts/s (p50 2.5 ms) and 23,000
// completions/s, which write a mark, a ticket and two indexes more. BenchmarkStorm measures it again. (That was with
// compactions at two levels of L0; at four, as now, completions into an empty queue came to 47,800/s from 24,700/s.)
//
// # Places and passing
//
// seq orders a lane's jobs of a class; the ordinal is what a ticket counts with, and hash and apply share it, so that
// a job keeps its ordinal as it goes from one to the other. Start: passed is the last place of the latest passage;
// places of coalesced asks count as jobs for LeaseRequest.Max, or their owners could tell that they were second. The
// rest: passed is what has ended plus what was leased in its last lane and is still open, and never falls; the first
// lease in the last lane writes it, and the ticket's flag, so that a crash takes no position back.
//
// # Choices where the port leaves one
//
// A Finish, Retry or Park after the lease's deadline succeeds until the job is handed out again; an Extend does not.
// A requeued job is a retry that is due, so it goes ahead of the line. A mail that is retried or parked holds its key
// again unless a later mail has it. A coalesced ask is refused when the queue is full, as a job is. Start tickets are
// signalled when passed and when done. A Lease, Finish, Retry or Park waits for its answer whatever its context does
// once the committer has it.
//
// # Time
//
// The queue's time never goes back, over restarts either: it is the latest of the clock and of all times used before.
// Leases, passages and retention live by it. While a clock that was set back is behind it by more than a second, it goes
// on at the pace of the clock's steady part, so that nothing stands still until the clock has caught up.
//
// Times that callers give (when a mark, a record or a sealed password expires, when a retry is due) are judged by the
// clock as it is, which is theirs too. A machine that was a year ahead for a moment would else find every new mark past
// its time, so that links could be used again and again. DoneTime is told by that clock as well. What a clock set forward
// does while it lasts is not undone: leases expire early, which costs work twice, and what is past its time is dropped,
// marks included; links that were used shortly before are good again after a jump ahead, and back, of more than the
// longest TTL within their own.
//
// # Failure rules
//
//   - Free disk below the reserve: Enqueue is refused (ErrNotDurable), all else goes on; accepted again once the free
//     disk is above the reserve by the hysteresis. Looked at once a second.
//   - Disk full: Pebble's write finds ENOSPC, the ballast file is given up, the write is tried again, nothing more is
//     accepted. The ballast is made again when there is room for it above the reserve.
//   - A failed commit, WAL write or fsync, a failed manifest write, or a record that cannot be decoded: nothing can be
//     trusted. Every call returns ErrNotDurable, nothing is acknowledged any more, Deps.Fatal is called once, from the
//     goroutine that saw it; the process must end. Reopening finds all that was acknowledged. Pebble reports these
//     through Logger.Fatalf, a panic or the batch's SyncWait; after it the database cannot be closed, and Close only
//     stops the engine's own goroutines.
//   - A failed flush or compaction is tried again by Pebble: its input is still there.
package embedded

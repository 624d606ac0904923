// Package app wires the packages into a process and runs it. It is the only package that knows all the others.
//
// # Life
//
//	New ──► Start ──► serving ──(ctx ends: SIGTERM)──► draining ──► Stop ──► exit 0
//	  │        │          └──(engine, listener or work side fails)──► Stop ──► exit 1
//	  └────────┴── what was opened is closed, last first
//
// New opens everything and touches no network but the store's, which it asks for its description for a short while. Neither
// a store that is dark nor one whose answer cannot be met stops the start: what is accepted waits. Start listens and works.
//
// # Draining
//
// New work is refused with DRAINING and answers that are held are given as they stand, so that a load balancer moves
// on; what is leased is finished within the grace; then the listeners close, then the queue. What is still in line is
// on disk, and the next start goes on with it. A second signal ends the process at once: that is no worse than a
// kill -9, which loses nothing either.
//
// # Steering
//
// What operators override (package operator) is loaded before anything listens: there is no moment
// after a restart in which what an operator closed is open. SIGHUP and the operators' Reload read the configuration again
// (internal/reload): all that has changed is put into force, or nothing is.
//
// # Failure rules
//
//   - The queue's fatal error (an fsync failed) ends the process with exit code 1, without a drain: nothing may be
//     acknowledged any more. The next start reopens what is on disk.
//   - A queue that was lost, or restored from an older copy, no longer knows which links were used: the token keys are made
//     anew and the log says so (identity). A queue whose index or ticket secret is gone stops the start.
//   - Open files are shared out at start: the queue's tables and the program itself first, callers' connections get what
//     is left of the limit. Callers can take all of theirs and the queue still has files to write to.
//   - keys_dir is locked: two processes with a queue each would know nothing of the links that the other saw used.
//   - Keys that cannot be renewed are logged and counted, and tried again; sealing goes on with the keys of the period.
//   - The brownout level is the ladder's unless an operator holds it; a signal that cannot be read is left out.
//   - While the process is short of processor time (package starvation), which is measured from Start on, the work side is told
//     and raises no pace, and the level rises with the delay.
//   - A hang-up never ends the process, with or without a file to read again; what came of it is in the log.
package app

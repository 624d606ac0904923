// Package app wires the packages into a process and runs it. It is the only package that knows all the others.
//
// # Life
//
//	New ──► Start ──► serving ──(ctx ends: SIGTERM)──► draining ──► Stop ──► exit 0
//	  │        │          └──(engine, listener or work side fails)──► Stop ──► exit 1
//	  └────────┴── what was opened is closed, last first
//
// New opens everything. It uses no network but to ask the store for its description, for a short time. A store that does not answer,
// or that needs what surgegate cannot do, does not stop the start: accepted work waits. Start begins to listen and to work.
//
// # Draining
//
// New work is refused with DRAINING, and callers that wait for an answer get it now, so that a load balancer moves on. Leased work is
// finished within the grace. Then the listeners close, then the queue. Waiting jobs are on disk, and the next start goes on with
// them. A second signal ends the process at once, which loses nothing either.
//
// # Steering
//
// Overrides (package operator) are loaded before anything listens, so they are in force from the first call on. SIGHUP and the
// operators' Reload read the configuration again (internal/reload) and put all changes into force, or none.
//
// # Failure rules
//
//   - A fatal error of the queue (an fsync failed) ends the process with exit code 1 and without a drain, because nothing may be
//     acknowledged any more. The next start reopens what is on disk.
//   - A queue that was lost, or restored from an older copy, no longer knows which links were used: the token keys are made
//     anew and the log says so (identity). A queue whose index or ticket secret is gone stops the start.
//   - Open files are shared out at the start: first for the queue's tables and the program itself, the rest for the connections of
//     callers. So callers cannot take the files that the queue needs.
//   - keys_dir is locked: of two processes, each with its own queue, neither would know which links the other saw used.
//   - Keys that cannot be renewed are logged and counted, and tried again; sealing goes on with the keys of the period.
//   - The ladder sets the brownout level unless an operator holds it. A signal that cannot be read is left out.
//   - While the process is short of processor time (package starvation), which is measured from Start on, the work side is told
//     and raises no pace, and the level rises with the delay.
//   - SIGHUP never ends the process, with or without a configuration file. The result of the reload is in the log.
package app

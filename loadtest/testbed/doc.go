// Package testbed has what benchmarks, rehearsals and tests stand on: programs as processes of their own, busy loops, a mail system, and
// disks that are small or slow.
//
//	Start        runs a program, waits until it listens, and keeps its output, so that a failed start can say why
//	StartBusy    uses processor time beside a measurement
//	Watcher      reads the links out of a maildir that a gateway delivers to
//	Sink         is an SMTP server that can be told to refuse with 451, to throttle, or to hang
//	NewSmallDisk mounts a tmpfs that can be filled (root)
//	NewSlowDisk  mounts a file system on which the writes of one process can be slowed (root, cgroup v1)
//
// A mail is written under tmp/ and renamed into new/, as maildir says. The Watcher looks at new/ every 100 ms, moves what it has read
// to cur/ and delivers each link's token: what follows "#token=" in the mail's text. It counts mails without a link (confirmations).
package testbed

// Package starvation tells whether this process gets the processor time that it needs. A process that does not measures
// its own delay with everything that it measures, and takes it for a slow store.
//
// # What it measures
//
//	every 15 to 25 ms   how late the Monitor's own timer is: the delay of whatever becomes ready at that moment, behind other
//	                    processes, a cgroup's quota or the process's own goroutines
//	every 250 ms        /sched/latencies:seconds of runtime/metrics: how long goroutines that were ready waited for a thread
//	every second        the processor time that was used (getrusage), and the cgroup's quota and throttling
//
// The delay of a quarter of a second is the greater of two 90th percentiles, that of the timer and that of the goroutines.
// A timer that is late stands for all moments at which it did not look, so its lateness is counted for each of them
// (the correction for coordinated omission, as in HdrHistogram).
//
// # States
//
//	            two quarters in a row reach Enough (5 ms)
//	┌────────┐ ───────────────────────────────────────────► ┌─────────┐
//	│ served │                                              │ starved │
//	└────────┘ ◄─────────────────────────────────────────── └─────────┘
//	            no quarter has reached it for Calm (3 s)
//
// So starvation is known 250 to 750 ms after it began, one pause of any length is no starvation, and a load at the
// threshold does not flap. Status.Delay is smoothed over 5 s, for what must not follow each moment.
//
// # Why these signals
//
// Measured on 2 processors with a load of short calls over loopback beside busy loops, hashing goroutines and quotas (90th
// percentiles of quarters, their median, and their maximum where it matters):
//
//	                                           a call's echo, p50   timer       goroutines
//	idle                                                            0.2 ms      0.01 ms
//	10 % busy, with and without hashing                  0.05 ms    0.9 ms      0.01 ms
//	80 % of one processor                                0.04 ms    0.8 ms      0.03 ms
//	hashing on one, 50 % of the other                    0.2 ms     0.8 ms      0.2 ms
//	one processor, a busy loop beside 30 % load          0.2 ms     1.2 (4.0)   0.2 ms
//	four busy loops on two processors, 10 % load         0.04 ms    0.9 ms      0.01 ms
//	one processor, 5 hashes a second                     0.02 ms    0.8 (15.6)  0.0 ms
//	                                                                                         starved from here on
//	one processor, 15 hashes a second                    0.05 ms    5.7 ms      0.2 ms       (p90 of the echo: 9 ms)
//	four busy loops on two processors, 60 % load         3.4 ms     7.2 ms      3.7 ms
//	one processor, a busy loop beside 70 % load          25 ms      5.6 ms      15 ms
//	one processor that always hashes                     41 ms      (aliased)   13 ms
//	quota of 0.3 processors, 40 % load                   2.6 ms     60 ms       3.2 ms
//	quota of 0.3 processors, hashing                     0.05 ms    37 ms       0.0 ms
//
// Neither signal is enough. The Go scheduler sees a goroutine only once it is ready, and behind a thread that the kernel
// does not run nothing becomes ready: it misses the quota. The timer misses delay between goroutines that it happens to run
// beside; its interval is drawn at random because one of 20 ms stood in step with the scheduler's slices of 10 ms.
// The 99th percentiles are no use: they reach 5 ms and more on an idle machine, too. Not used either: the run-queue wait
// of /proc/self/task/*/schedstat, which is as high for hashing that disturbs nobody as for starvation and knows nothing of a
// process that starves itself, and /proc/pressure/cpu, which speaks of the whole machine.
//
// The process's own hashing counts like any other load: delay is delay. The hash pool leaves one processor of two or
// more to the rest (hashpool.Config.Slots), so there it is not noticed. A machine with one processor is starved
// while it hashes for over a third of the time, and not by single hashes.
//
// # Failure rules
//
//   - What the system does not tell (no /proc, no cgroup, a file that cannot be read or parsed) counts as absent: no quota, no
//     throttling, no time used. The delay needs none of it.
//   - A clock that goes back gives no lateness. A machine that slept gives one late quarter.
//   - Nothing is kept over a restart; the process counts as served until it was found starved.
package starvation

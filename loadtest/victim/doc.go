// Package victim is a credential store that really falls over: a CredentialStore v1 server in a process of its own, with c
// workers, a queue, a memory bound past which the process dies, and a supervisor that starts it again after a delay, cold.
//
// # What it costs
//
// A password takes a worker for 21 ms (argon2id at 19 MiB, t=2, p=1 on one core), held on a timer so that the load
// generator, the gateway and the victim can share two cores without the victim's work showing up as theirs. A looked-up
// identifier takes 1 ms, a revoked account 0.5 ms. A batch of n passwords is n pieces of work for whichever workers are
// free; its answer waits for the last. What has been applied already, or is superseded, takes a look-up's time.
//
// # Other stores
//
// Config makes it other stores too; each field alone or with the others:
//
//	Knee, Sigma   no line: everything inside is worked on at once, and past the knee more of it gets less done (USL)
//	Batched       a batch of n is one piece of work, BatchTime + n·HashTime, as a statement with many rows is
//	Latency       answers come later, while nothing of the store is in use: slow, but healthy
//	Spread        work varies, log-normal; Noise: calls fail for no reason of load; MaxCalls: it dies of calls inside
//	Hashed        it takes hashes instead of plaintext passwords
//
// At Control it listens, on loopback, for steps while it runs: half the workers or half the knee, another speed (0 is a
// stall: what is inside stays there), more latency, cold for a while, answers that refuse every call (RESOURCE_EXHAUSTED) or
// fail every SetPasswords (UNKNOWN); for a crash; and it tells its status, with the
// number of calls inside now, at the most, and integrated over time. A step is forgotten when the process dies.
//
// # How it dies
//
//	up ──(bytes held > MemoryBound, or calls inside > MaxCalls)──► dead (exit 137, nothing flushed) ──RestartDelay──► up, cold ──ColdFor──► up
//
// Each request item holds RequestMemory of really allocated memory from arrival until a worker is done with it, as parsed
// requests, sessions and buffers do. A caller that goes away does not take its work with it: what is in line is still
// worked on, which is how a store stays overloaded by calls that nobody waits for. When the bound is passed the process
// exits at once, as the kernel's out-of-memory killer would make it; everything in line is gone. A cold process takes
// twice as long for everything.
//
// # What it remembers
//
// It is a database: every change is in the ledger file before it is answered, and a restarted process reads the ledger
// back. A line is one write(2), so the death of the process leaves at most one torn line at the end, which is cut off when
// it is reopened. Power cuts are not part of the game: nothing is fsynced. The ledger holds SHA-256 of passwords, so that
// a run can be audited: Audit says which password an account has, and what was applied twice.
package victim

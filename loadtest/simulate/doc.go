// Package simulate runs a whole reset storm in virtual time: people, gateway, store, hash pool and mail provider, on one
// core, 30 million people over two days in about a minute. It answers what a platform team asks before the day comes: how
// long will the line be, how large the disk, when is it over, and (package plan) how slowly must we mail.
//
// # What is real and what is a model
//
//	people          loadtest/people's state machine, the same that moves the people of a real run
//	admission       pkg/admission: buckets, ladder, levels, and the signals of pkg/gate
//	acceptance      pkg/gate: ETAs, bounds, times to poll and to come back
//	work            pkg/pace, pkg/fair, and pkg/dispatch/decide: sizes of batches, costs, back-offs, mail budget, meters
//	breaker         loadtest/breakermodel, which its test holds to pkg/breaker
//	store, mail     models (below)
//
// Decisions are production's code with time passed in. What is between them is written anew here, single-threaded: lines
// are plain lines, a permit is handed out in the same moment, nothing has to be sealed, written or sent. So everything that
// costs the gateway processor time is left out but for Config.Latency; a gateway that is short of cores is not simulated.
// So are a client in a loop, whom its own bucket refuses; addresses that an office's people share (each has their own here, so
// nobody is refused for a neighbour); and the expiry of sealed passwords.
//
//	arrivals ─► people ─► gate ─► lanes ─► downstreams ─► store, hash pool, provider
//	              ▲         │                   │
//	              └─────────┴─ answers, mails ──┘
//
// # A turn
//
// The next arrival or the next event, whichever is earlier, arrivals first; then every downstream that the turn has touched
// hands out what permits it can. The order is total (time, sequence), no map is walked, and every draw comes from the seed:
// the same configuration gives the same Result, to the byte. What a run cost is told apart from it (Cost).
//
// A person's call is answered within the turn that makes it, Latency later by the person's clock; only a completion that
// is held (wait) and a repeated call are events of their own. A person costs 88 bytes while they are there, and about ten
// events.
//
// Everybody here has an address and a device of their own. The buckets of both are then the same bucket; it is kept in the
// person's record, by the same arithmetic (a test holds it to pkg/admission), because a bucket that is made and dropped for
// one call costs a microsecond. Level and global bucket are asked of pkg/admission itself.
//
// # The store
//
// A Store has c workers before one line. A call of n items is n pieces for whichever worker is free, or, Batched, one piece
// of BatchTime and n items. When it is worked is known when it enters, so it costs one event. A caller that goes away
// (5 s) leaves its work inside, and the permit with it until the deadline, as in production: else a store could never be
// buried. With a MemoryBound it dies of too much inside: all that was in it is broken, it refuses for Restart, and is cold
// (half as fast) for ColdFor. A password that was written after its caller had gone costs a look-up when it comes again.
//
// The provider takes a mail in Latency, and no more than Rate a second; what is over it is refused as with an SMTP 4xx.
// The gateway is configured to send at that rate (Unpaced: it is not, and has to find out). Delay is what lies between the
// hand-off, where a link's life begins, and the inbox.
//
// Faults are data: at a time, for a time, something is another way. See Fault.
//
// # What is judged
//
// A wait is what a person waited from the first request until they were told that the new password is in place, less their
// own reading and typing; it includes what they sat out after refusals. The line stands while the oldest job that people
// wait for is older than 5 s (brownout level 1); drain is when it stands for the last time. Backlog in samples is what
// people are owed, as a real run counts it; the peaks by lane are jobs, and bytes
// are those on disk of what is queued, by what 15 million tickets were measured to take.
//
// Left out: expired passwords (a completion is accepted only if it can be applied in half the time), the revoker's own
// breaker, Describe, campaigns, several gateways, coalesced asks' places in line, the gateway's own death.
//
// # Failure rules
//
// New refuses a configuration that makes no sense and names the field. A run ends when everybody has ended and no job is
// left, or at Config.Until; people for whom it ended first are told as StillWaiting. Run can be cancelled by its context
// and then returns its error.
package simulate

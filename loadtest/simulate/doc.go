// Package simulate runs a whole reset storm in virtual time on one core: people, gateway, store, hash pool and mail provider.
// 30 million people over two days take about a minute (`storm bench --only simulate`). It answers how long the line will be, how
// large the disk, and when it is over; Mailing finds how slowly to mail.
//
//	arrivals ─► people ─► gate ─► lanes ─► downstreams ─► store, hash pool, provider
//	              ▲         │                   │
//	              └─────────┴─ answers, mails ──┘
//
// # What is production code
//
//	people          loadtest/people, which also moves the people of a real run
//	admission       pkg/admission: global bucket, ladder, levels, with the signals of pkg/gate
//	acceptance      pkg/gate: ETAs, bounds, times to poll and to come back
//	work            pkg/pace, pkg/fair, pkg/dispatch/decide: batch sizes, costs, back-offs, mail budget, meters
//	breaker         loadtest/breakermodel; its test compares it with pkg/breaker
//	store, mail     models: Store, Mail
//
// What connects these is written again here for one goroutine: nothing is sealed, stored or sent. The buckets of a client's
// address and device are kept in the person's record; a test compares them with pkg/admission.
//
// # What is left out
//
//   - the gateway's own processor time, but for Config.Latency, and its death
//   - clients in a loop, and addresses that people of one office share
//   - expired passwords, campaigns, Describe, the revoker's own breaker, places of coalesced starts
//
// # A turn
//
// The next arrival or event runs, arrivals first at equal times; then each downstream that it touched hands out permits. The order
// is total (time, sequence), no map is iterated, and every draw comes from the seed. The same configuration gives the same
// Result to the byte; what the run cost is reported apart (Cost).
//
// # What the figures mean
//
// A wait runs from a person's first request until they know that the new password is in place, without their own reading and
// typing. The line stands while the oldest job that people wait for is older than 5 s. Peaks by lane count jobs. Bytes are
// on disk, by what 15 million tickets were measured to take.
//
// # Failure rules
//
// New names the field of a configuration that makes no sense. A run ends when everybody has ended and no job is left, at
// Config.Until (the rest is StillWaiting), or with its context's error.
package simulate

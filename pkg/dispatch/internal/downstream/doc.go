// Package downstream hands out the right to call a thing with its own capacity: the store, the mail provider, the
// revoker, the hash pool. Each has one pacer (speed), at most one breaker (stop and probe) and one share (who is next).
//
// # A permit
//
//	Acquire ──► waits in its lane's line ──► the share says that the lane is next ──► pacer ──► breaker ──► Permit
//	                     ▲                                                             │           │
//	                     └── a call ended, or the time came that pacer or breaker named ┴───────────┘
//	Permit ──► Use (what was leased) ──► Do: the call ──► its end, or, where the downstream may still be at it, its deadline
//	   └─────► Release: no call was made
//
// Who waits is woken when it has its permit, and not before: whoever ends a call hands out what became free, in the
// order of the share, under the same lock, so none is lost and nobody asks in vain. Where pacer or breaker name a time
// to ask again, only the one who is next has a timer. A waiter whose context ends gives back what it was just handed,
// and the next one is served.
//
// # Shares
//
// Lanes share a downstream by pkg/fair. A call is charged when its permit is handed out, by what it may carry, and
// corrected as soon as it is known what was leased. What it costs is Spec.Cost; Cost is the default:
//
//	(6 + items) × 1 for a write, a mail, a hash, a revocation; × ¼ for a look-up
//
// 6 is what a call itself costs beside its items: PostgreSQL takes 12 k single updates a second and 75 k in batches of
// 64, so a call is 71 µs of the whole server and an item 12 µs (DESIGN.md). Without it a lane whose batches are small
// would hold most of the slots. A look-up reads one index and syncs nothing; a quarter is a guess that a controller
// which measures both kinds replaces.
//
// # A revoker that is the store
//
// A downstream with a Host has a breaker of its own and no capacity of its own: its calls load the host. Each of its permits
// stands on one of the host's, paced by the host's pacer and counted in the host's share. What a call says of the host
// is only that it works: a success is reported there, anything else as given up, so that a broken RevokeSessions opens
// its own breaker and neither slows nor stops the store's own calls; a store that is overloaded shows it in those. It asks its
// own breaker first, without keeping the answer, then waits for the host's permit, then asks the breaker again: so it
// holds neither a slot of the host while its breaker is open, nor a probe while the host is busy.
//
// # Steered
//
// Weights, pace and breaker change under the same lock as everything else, and the lines are served after each change: who waits
// for a time that the old pace or a held breaker has named is not left to it. Permits that are out end as they would have.
// A breaker that is closed by force has the pacer resume, like one that closes by itself. A downstream with a host has
// no pace of its own to steer.
//
// # Classes
//
//	call                                   pacer      breaker
//	answered                               ok         success
//	overload, time-out, configuration      overload   failure
//	any other error, a panic               error      success (it answered)
//	ended by us                            canceled   ignored
//
// # Counted
//
// Counts has what the calls of a downstream add up to, by kind for those that ended well, for whoever compares its speed over time.
// A revocation that stands on the store is one of the store's kinds, because it takes the store's time, and is none of its Calls.
//
// # Failure rules
//
// A call that ended before its deadline by a time-out or by us keeps its permit until the deadline, because the
// downstream may still be working at it. While the breaker is not closed a permit is for one item: a probe risks as little
// as it can. A pacer that names a time just past is asked again after a millisecond, so that it cannot make anybody spin.
package downstream

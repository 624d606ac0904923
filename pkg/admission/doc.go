// Package admission decides in under a microsecond whether a call is let in, before anything is computed or stored
// for it, and turns signs of strain into brownout levels. It is pure: time comes in as an argument, it starts no
// goroutine and does no I/O.
//
// # The way of a call
//
//	Admit ──► level ──► client's ip ──► client's id ──► global ──► Permit
//	            │            └──────────┴─────┬───────────┘           ├─► GiveBack  not durable, queue full, draining,
//	            ▼                             ▼                       │             key unknown
//	         KindShed            KindLimitClient, KindLimitGlobal     └─► Charge    the token or password was refused
//
//	             level 0, 1   2             3        4        spends
//	OpStart      in           no suspects   shed     shed     ip, id, global
//	OpCheckToken in           in            in       shed     global; ip and id when its token is refused
//	OpComplete   in           in            in       shed     global; ip and id when its token or password is refused
//	OpRead       in           in            in       in       nothing
//
// Level 1 refuses nothing here: it defers extras (pkg/dispatch) and answers with tickets at once (pkg/gate).
//
// All tokens are taken or none: a client's shards stay locked from the look to the take, and the global bucket, which
// looks and takes in one step, comes last. So a client that is refused drains nothing that others need. A good token
// is never refused for its client's buckets.
//
// # Buckets
//
// They are golang.org/x/time/rate's, with times clamped so that they never go back (see pkg/clock). Clients are told
// apart by IPv4 address (also when mapped into IPv6), by IPv6 /64, and by client id, all under the same rule. Calls
// without a valid address share one bucket; calls without an id have none by id.
//
// Memory is bounded without a goroutine. A bucket that has refilled equals a fresh one, so every access looks at one or
// two others of its shard and drops them if they are full. There are at most MaxKeys buckets for ips and as many for ids,
// at KeyBytes each; at that bound the keys that have no bucket share an overflow bucket, one a shard of the table (64
// at most), under the same rule: they are throttled together rather than let in unseen.
//
// # Rules change while it runs
//
// SetRules puts other rates, bursts and dry runs into force for the next call. A bucket keeps what it holds, up to the new burst:
// a wider rule is no burst for free, and a narrower one takes only what is over it. The rule of the clients lies in each shard of
// the table, under the lock that a call holds anyway, so that Admit is no slower for it; to change it all keys are gone through,
// shard after shard. Whether a rule counts only is looked at where it would refuse.
//
// # Who is refused
//
// Each shard counts the refusals of its keys over 10 s windows in a small sketch, under its lock, in half a MiB at the most for
// all of ips and ids; Limited adds up the last minute. Counts are never too low; a client is named only if at least half of its
// count is surely its own, so that a flood from everywhere names nobody in particular. It costs a refusal 15 ns, and 80 ns in
// a flood in which no client comes twice (BenchmarkAdmit, best of several runs), and a call that is let in nothing.
//
// # When to come back
//
// A limit's RetryAfter is the time until the bucket holds a token, at least a second; a shed's is ShedRetryAfter. Both
// are spread over half as long again, so that those who were refused together do not come back together.
//
// # Ladder
//
//	level = the highest that any signal asks for          up: at once, also by several
//	                                                      down: by one, after Hold in which every signal was under
//	                                                            Release × what asks for the level
//
// Configure takes other thresholds over, for the next Step. The wait of a lane that an operator has paused counts like any other:
// people do wait for it, and what comes in must not grow without bound. So a long pause raises the level by itself, and its
// Cause says of which signal; who pauses a lane for long holds the level too, and knows what that lets in.
//
// Each level has a Cause: the signal, from a closed set, and words with its value. A change is logged in one line, and
// counted by the level that was entered and the signal; surgegate_brownout_signal tells which one holds the level now.
// While it eases that is the one that had raised it.
//
// The thresholds are in pkg/README.md, "Brownout". Those of queue, disk and heap are chosen so that each step comes while the
// one before can still help, and have not been swept. The delay of the processors for level 1 comes from pkg/starvation, which
// says how it was measured.
//
// # Failure rules
//
// Nothing here can fail but by refusing. A signal that is no number asks for nothing. A clock that goes back stops
// the refill until it has caught up. The state is not kept over a restart: buckets start full, the level at 0.
package admission

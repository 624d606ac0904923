// Package admission decides, before anything is computed or stored for a call, whether to let it in, and turns signs of
// strain into brownout levels. Its decision code is pure: time is an argument, it starts no goroutine and does no I/O.
//
// # A call
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
// Level 1 refuses nothing here. pkg/dispatch defers extras, and pkg/gate answers with tickets at once.
//
// Admit takes a token of every bucket or of none. So a refused client uses up nothing that others need. A good token is
// never refused because of its client's buckets.
//
// # Buckets
//
// Clients are told apart by IPv4 address, by IPv6 /64 and by client id, all under the same rule. Calls without a valid
// address share one bucket; calls without an id have none by id. A bucket that has refilled equals a new one, so every
// access drops full ones, and memory is bounded without a goroutine. At MaxKeys, new keys share one overflow bucket a shard:
// they are limited together rather than let in uncounted. SetRules changes rates and bursts while calls go on. A bucket keeps
// its tokens, up to the new burst.
//
// Each shard counts the refusals of its keys in a small sketch, so that Limited can name the clients that were refused most
// in the last minute. A call that is let in pays nothing for it.
//
// # Ladder
//
// The level is the highest that any signal asks for. It rises at once, by several levels if need be. It falls by one level
// after Hold, in which every signal stayed below Release × its threshold. Each level has a Cause: a signal from a closed set,
// and words with its value. While a level eases, the cause is the signal that raised it. The wait of a lane that an operator
// has paused counts like any other, because people do wait for it: so a long pause raises the level.
//
// pkg/README.md, "Brownout", has the thresholds. Those of queue, disk and heap are chosen so that each level begins while the
// one before can still help; they have not been measured.
//
// # Failure rules
//
// Nothing here fails except by refusing. A signal that is NaN asks for nothing. When the clock goes back, buckets do not
// refill until it has caught up. Nothing survives a restart: buckets begin full, the level begins at 0.
package admission

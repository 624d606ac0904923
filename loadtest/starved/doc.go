// Package starved runs storms with the real programs where processor time is short, and tells what became of the people who
// were accepted.
//
//	storm run (process) ──► surgegate serve (process) ──► storm victim (processes: it dies of memory, and comes back)
//	       └── the victim's control, each second ──┘ /metrics, each second            busy loops beside them
//
// Rehearse makes the rehearsal of the README once: a victim, a gateway that is configured with nothing but its store and
// where things are, and a scenario's peak. The busy loops run on every core; or they share one core with the gateway, which is
// then pinned to it, while everything else has the other cores. Demo makes the README's demo once.
//
// # What is judged
//
//   - The store does not die: at all in a rehearsal; after the first minute where the gateway shares its core, because it has to
//     learn first what the store takes.
//   - Whoever was accepted got the new password: they were told so, and the store's ledger has as many accounts.
//   - No change was applied twice or out of order.
//
// How far the limit of calls at once to the store runs ahead of the calls is recorded, not judged: MostAhead.
//
// # Failure rules
//
// An error is a fault of the tool: a program that does not start, an answer that cannot be read. What was promised and not kept
// is in Outcome.Broken. Everything that was started is ended, and waited for.
package starved

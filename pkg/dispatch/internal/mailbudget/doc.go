// Package mailbudget keeps interactive and bulk mail apart: what somebody waits for never stands behind what nobody does.
//
// Interactive is what people have asked for, of suspects too; bulk is what is deferrable: confirmations, and the
// replacement links of expired passwords. Each has a token bucket of its own, which bounds what the provider is sent in
// all, whoever asks (the mail budget as a whole, SECURITY.md 4). Over it mails wait in line; nobody is refused, and nobody
// learns of it.
//
// Bulk mail also holds at most its share of the calls at once. The line hands out interactive mail first, so bulk mail
// is sent only when none waits; an interactive mail that comes then finds a call free at once, or, where the provider
// takes one at a time, after that one.
//
//	Terms ──► UpTo deferrable: both buckets have a token, and bulk has a call left     ──► Take ──► Lease ──► Leased ──► Done
//	   │  └─► UpTo suspect: the bulk bucket is empty, or bulk has its calls; ask again at Wait, or when Changed
//	   └────► not OK: the interactive bucket is empty; ask again at Wait
//
// Tokens are taken before the lease and given back after it, because only the lease tells what was next. The buckets are
// not kept over a restart: they start full, at their burst. Configure changes the bounds at any time, also between the
// two: what was taken goes back to where it was taken from.
//
// It is pure but for its lock: time comes in as an argument.
package mailbudget

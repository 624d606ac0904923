// Package replica lets several gateways that feed one store share one chart of package pace: one of them decides, each gets
// its part. Charts of their own would not do: at saturation each of k sees that more of its own calls bring it more of the
// store, at the others' cost, so none of them stops.
//
//	Member ── Report: what it has counted ──►┐          ┌──► pace.Chart, asked with the sums
//	Member ── Report ───────────────────────►┤  Leader ─┤
//	Member ◄── Order: look, share, batch ────┘          └──► C/k of each look to each of the k
//
// Like the Chart it is pure: time comes in as an argument, and messages are values that the caller carries.
//
// # How it works
//
// A look of the Chart is numbered. The Leader tells its number and each Member's share of its concurrency. A Member that
// hears of it switches, lets its calls settle, and counts from then on; each of its Reports says all that it has counted at
// that look so far, so one that is lost or late costs time and no evidence. The Leader adds the Reports that are of the
// present look, and when all Members have settled it lets the Chart decide. Nothing is counted under another limit than the
// one that it is booked to, whatever the lag: lag makes looks longer, not wrong. ChartConfig.Rate is not divided: a bound on
// items a second is for each gateway's own Fixed.
//
//	           ┌───── Order of another look ──────┐
//	           ▼                                  │
//	joined ─► settling ─► counting ───────────────┤
//	  ▲        │            │                     │
//	  │        └── Patience without an Order ─► quiet: half of the share, again after each Patience, not under 1
//	  └─────────────────────────────────────────── the Order that comes then begins the look anew
//
// What is left of C/k goes to the next Members in turn, another look by look, so that over a few looks all get the same. With
// fewer calls than Members some have none for a look: a floor of 1 for each would be a floor of k for the store.
//
// # Duties of the caller
//
// One Leader at a time, with a Term that grows with each: whoever is elected. Its own gateway is a Member too. Each Period
// every Member's Report goes to the Leader and the Leader's Orders go to the Members, and Orders go at once when Hear says so.
// When a Member has heard an Order its dispatcher asks anew. A gateway that drains sends what Leave returns.
// Messages may be lost, late, doubled and out of order.
//
// The embedded queue has one process, so nothing here is wired into it: pkg/app gives each downstream a Chart. An engine for
// a cluster brings what is missing: an election with a growing term (a key with a time to live, written by compare-and-set:
// its revision is the term) and two subjects a downstream, reports and orders, without durability. pkg/app then gives
// pkg/dispatch the Member as its Pacer, and nothing else changes: breakers stay with each gateway. The Members draw from one
// queue, so that all are short of work or none is, which is why they get equal parts.
//
// # Failure rules
//
//   - A Member that hears nothing for Patience (default 5 s) halves its share, and so on to 1: the others may have been given
//     it. One that never heard anything has 1.
//   - A Leader that hears nothing from a Member for Patience gives its share to the others. In between the store may see up
//     to half a share more than the Chart meant.
//   - A Leader without Members does nothing. When they are back it goes on where it was, with its look anew.
//   - A new Leader first listens for Patience and begins where the last one ended, at the sum of the shares that the Members
//     were last told, with a chart of its own to find.
//   - Orders of an older term or look than the last one that was heard are dropped.
//   - Done without an Ask that was told Go panics, as in package pace.
package replica

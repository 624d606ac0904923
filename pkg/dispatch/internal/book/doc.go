// Package book keeps what the store says of itself: the form in which it takes passwords, its largest batches, whether it shares
// current hashes.
//
//	Prepare ──► recorded answer, if there is one ──► Describe, one deadline long ──► answered: taken over and recorded
//	                                                        │
//	Run ◄───────────────────────────────────────────────────┴─► no answer: the recorded one, or the store's lanes rest
//	 └─► Describe under a permit: every so often, soon while there was no answer, at once when AskAgain is called
//
// Asked under a permit, Describe is also the probe that finds a store back while there is no work at hand.
//
// # Failure rules
//
// A store that does not answer leaves the last answer in force. An answer that cannot be met (no hash scheme in common)
// rests the store's lanes, at the start and later: what would be sent could not be used. Either is logged once, and once a
// minute while it lasts, with its code and what to change; Misconfiguration says the latter to operators. An answer that
// cannot be recorded is known to this process, and recorded with the next one.
package book

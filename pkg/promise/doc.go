// Package promise counts how the promise to people is kept: an accepted reset is done within Config.Within (the
// configuration's reset.promise, 5 minutes by default). It is what the SLO, its burn rates and its error budget are made of.
//
// # What is counted
//
// Each accepted reset is counted once, when it ends, in one of two parts:
//
//	part      it ends when                                  kept                     broken
//	link      the link mail of an ask is handed off         in time                  later
//	          the provider refuses the mail for good        –                        always
//	          an operator gives the ask or its mail up      –                        always
//	password  a completion's ticket is final                DONE or REJECTED in time later, or FAILED
//
// In time is by the age since the ask, or the completion, was accepted: the wait in every line is in it. A link's age
// starts with the ask, not with the mail job, which is made only once the account was looked up.
//
// REJECTED is an answer (the account is gone, the password was refused, a newer completion took over), so that in time
// it is kept. FAILED is none: the sealed password waited too long (EXPIRED) or an operator gave up (OPERATOR).
//
// Not counted: an ask without an account and a mail that is withheld because an earlier link is still good (nobody
// waits for anything), confirmations and replacement links (nobody asked), a coalesced ask (the one that it joined is
// counted), and whatever has not ended: a reset that waits for ever breaks no promise here. For those there is
// surgegate_queue_oldest_wait_seconds.
//
// # Failure rules
//
// Counting cannot fail. The counters live in the process: what ended before a restart is in the samples that were scraped.
// The queue counts a completion when its end is written, a moment before it is durable; if it never is, the process ends
// with its counters.
package promise

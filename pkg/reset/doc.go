// Package reset defines the types that all other packages share: lanes, jobs, tickets, reasons, errors, and the plaintext of
// job payloads, which are stored sealed.
//
// # States of a ticket
//
//	            ┌────────── superseded, refused ─────────► REJECTED
//	ACCEPTED ───┼─► RUNNING ─► DONE
//	   ▲        └────────── expired, given up ──────────► FAILED
//	   └── retry, parked ──┘
//
// DONE, REJECTED and FAILED are final. A ticket of StartReset is ACCEPTED and then DONE, at a time that is computed before
// the store has answered; so it says nothing about the account. A superseded completion is REJECTED, because it can never
// work as asked.
//
// # Failure rules
//
// An Error holds what a caller may see: kind, field, detail, and when to come back. Its cause is for logs and errors.Is and
// must not leave the process.
package reset

// Package reset is the vocabulary that every other package speaks: lanes, jobs, tickets, reasons, the one error type,
// and the plaintext of what jobs carry sealed.
//
// # States of a ticket
//
//	            ┌────────── superseded, refused ─────────► REJECTED
//	ACCEPTED ───┼─► RUNNING ─► DONE
//	   ▲        └────────── expired, given up ──────────► FAILED
//	   └── retry, parked ──┘
//
// DONE, REJECTED and FAILED are final and never left again. A StartReset ticket is only ever ACCEPTED, then DONE, at
// a moment that is computed before the store has answered; so it says nothing about the account. A superseded
// completion is REJECTED: it can never work as asked.
//
// # Failure rules
//
// An Error carries what a caller may see (kind, field, detail, when to come back). Its cause stays in the process:
// it is for logs and errors.Is, never for the wire.
package reset

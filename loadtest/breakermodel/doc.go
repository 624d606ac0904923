// Package breakermodel is pkg/breaker without its clock, for runs in virtual time: gobreaker, inside of it, reads the
// machine's, which stands still there.
//
//	          too many failures                     the wait is over, one call is let through
//	Closed ─────────────────────► Open ──────────────────────────────► HalfOpen
//	  ▲                             ▲                                     │  │
//	  │                             └── a probe failed or did not report ─┘  │
//	  └───────────────────── Probes successes in a row ──────────────────────┘
//
// Times count from the run's start and must not go back. A test drives pkg/breaker, in testing/synctest, and the model
// with the same calls and holds each answer, each time to come back and each state equal: whoever changes one of them
// changes both.
//
// It cannot fail. A Ticket that is reported twice counts twice: that is the caller's fault.
package breakermodel

// Package people is the behaviour of those who reset, as a state machine without I/O, time or goroutines: what a person
// does, what the client in their hand does, and what both do when they are refused. The same machine moves the people of
// a real run and of the simulator, so the two differ in the system alone.
//
// A person asks for a link, waits for the mail, reads it, opens the link (CheckToken), types a new password
// (CompleteReset) and follows the ticket until it is final. A step that fails is tried again, up to Tries times, and each
// time only with probability ComeBack; then the person gives up. Three in ten who still wait for their mail after a while
// ask once more. A link that is refused sends a person back to the start.
//
//	asking ──► waiting ──► reading ──► checking ──► typing ──► completing ──► following ──► ended
//	   ▲        │   ▲                      │ token refused          │ token refused
//	   │     resending                     │                        │
//	   └───────────────────────────────────┴────────────────────────┘
//
// In a state that calls, a person is calling (a call is out), backing off (the client, attempt > 0) or away (the person,
// between two tries). A mail ends being away while asking: the request had got through.
//
// Whoever drives the machine holds to this: one Answered for each Next that says Make; Wake at Person.Due and not before,
// and only if Due is still that moment; Mailed whenever a mail comes; nothing after End. Breaking it is a fault of the
// driver and moves the person wrongly, but never panics.
//
// A client makes up to Attempts attempts for each step. A patient one backs off exponentially with full jitter, waits as
// long as RetryInfo says, and stops when the server's pushback says so; an impatient one tries again at once. The answer
// "this can never work" (INVALID_ARGUMENT, FAILED_PRECONDITION, NOT_FOUND, …) is not tried again by either.
//
// With a share f of failing attempts, a step costs model.Amplification(f) calls; a test holds the two together.
//
// All decisions are common random numbers of (seed, person, draw): the same person is as patient in every arm.
package people

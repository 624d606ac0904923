// Package crowd lets the people of a storm loose on a gateway: it moves the state machines of loadtest/people in real
// time, makes their calls, hands them their mails, and records what becomes of them.
//
//	arrivals ─► loop ── Make ─► calls ─► gateway        one goroutine owns every person; calls are asynchronous and
//	            ▲  ▲  └ Wait ─► timer ┐                 their answers come back as events of the loop
//	            │  └─────────────────┘│
//	          mails, answers ◄────────┴─ recorder
//
// # Open loop
//
// An arrival starts at its time of an absolute schedule, however slow the system is, and latency counts from that intended
// time. A later call of a person is intended at the moment at which the person decided on it (the end of a backoff, of
// typing), never at the moment at which the generator got round to it. intended = sent + dropped, always: what the end of
// the run finds unsent is dropped and counted. How late the generator was is measured for every arrival; past the bound at
// p99 the run says nothing about the system and is invalid.
//
// # Who comes
//
//	Human      a person, with all that follows from their first request
//	Attacker   one request for an address that is not there
//	Lone       one call with nobody behind it: a client in a loop, an event of a trace that is replayed verbatim. Check and
//	           complete then carry a token that was made up, and are refused; a trace holds none that works
//
// # How it ends
//
//	arrivals over and everybody ended ─► done
//	Limit after the first arrival     ─► cut off: people still waiting are counted as such
//	nothing happens for Patience      ─► the same: their mails do not come
//	the context ends                  ─► the same, at once
//
// Answers to calls that are out at that moment are nobody's failure and are not counted. Without mails nobody can go on
// after their start: a person then ends once the request is accepted and the time of a resend has passed.
package crowd

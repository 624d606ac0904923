// Package decision is the log of why: one structured line for a call that was shed, limited or refused, and for work that
// had to wait, with the numbers that it was decided on. It is for the person who looks at one gateway at night and asks
// what it is doing and why; how often is for the metrics to say.
//
//	level=INFO msg="decision: refused" reason=refused cause=queue_full lane=start eta=13h2m bound=12h left_out=8123 …
//
// # Reasons
//
//	shed      a brownout level refuses this kind of call     level, what raised it
//	limited   a bucket is empty                              rule, tokens left, rate, burst, time until there is one
//	refused   it could not be finished, or not be kept       ETA and bound; jobs and bytes held; why nothing can be kept
//	paced     a lane waited for its downstream               how long, calls at once and their limit, rate, breaker, backlog
//	levelled  the brownout level changed                     always; pkg/admission writes it itself
//	parked    a job is set aside for an operator             always; the job, why
//	breaker   a breaker changed                              always; pkg/breaker writes it itself, with what opened it
//
// The last three are news, so they are written, as warnings, whatever Config says; the names may stand in it, so that a list of
// what is wanted can be whole.
//
// # What a storm makes of it
//
// Each Line, which is a reason with one cause (such as a limited client, or the lane that waited), is written at most once
// in Config.Every. What was left out meanwhile is counted, and told with the next one as left_out. At the default of a
// second and 300 bytes that is 26 MB a day at most for a cause that never ends. Nothing is buffered; who makes a decision
// writes its line itself, outside of locks.
//
// No line has an account, an address, an ip, a token, a ticket or an identifier: causes and keys are closed sets, the rest is
// numbers and our own words. Whose client it is that is limited is for the operator API to tell, which is protected.
//
// # Off
//
// A reason that is not wanted has no Line: it is nil, Due is false and nothing is computed or allocated.
package decision

// Package fair decides who of several flows goes next at something that they share, so that each that has work gets its
// weighted share of the cost. It is pure: it reads no clock, starts no goroutine, holds no lock; the caller serialises.
//
// # The algorithm
//
// Start-time fair queueing (P. Goyal, H. Vin, H. Cheng, "Start-time Fair Queueing", SIGCOMM '96), in the form for a
// server that works at several requests at once (SFQ(D): W. Jin, J. Chase, J. Kaur, "Interposed Proportional Sharing for
// a Storage Service Utility", SIGMETRICS 2004):
//
//	flow begins to wait   start tag = max(virtual time, its last finish tag)
//	next                  the waiting flow with the least start tag; the heavier of two that are equal
//	it is served          virtual time = its start tag; finish tag = start tag + cost / weight
//	it cost something     finish tag moves by the difference / weight, to no earlier than the virtual time
//	else                  at which the flow began to wait
//	its weight changes    start tag = virtual time + (start tag - virtual time) x old weight / new weight
//
// # What it promises
//
//   - Of two flows that wait all the time, the costs served divided by their weights never differ by more than the
//     largest cost of each divided by its weight, whatever came before (Theorem 1 of the paper).
//   - A flow that was idle has gained nothing by it: it begins at the virtual time. It is served before any other flow
//     is served twice, and from then on gets its share.
//   - A flow that waits is served: while it waits, another can be served at most its weight's part of what this one
//     was served last, and one request more.
//   - The same holds from the moment on at which a weight changes, however often any does: a flow that is made heavier does not
//     wait out what it was charged while it was light, and one that is made lighter has not been given anything.
//   - Nothing is held back: while anybody waits, somebody is next. What a flow leaves is the others' by their weights.
//
// # Failure rules
//
// A flow that is not there, a Serve or Leave of one that does not wait, and a cost that is no number are faults of the
// caller that would skew every share for good: they panic. Tags are float64 and only grow: at 1e5 of cost a second it
// takes 2,000 years until they are too coarse to tell a cost of 1.
package fair

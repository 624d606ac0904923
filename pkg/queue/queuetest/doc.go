// Package queuetest is the conformance suite of package queue: every engine passes it.
//
//	func TestConformance(t *testing.T) {
//		queuetest.Run(t, func(t *testing.T) queuetest.Harness { … })
//	}
//
// # What a harness gives
//
// Storage that outlives the queues opened on it, a Manual clock that all of them use, and Crash: a power cut. What was
// acknowledged before Crash began must be there after the next Open; what was not may be there or not, but never in
// half. The queue that was open when the power was cut is still closed afterwards, and what it does then must not
// reach the storage.
//
// # Rounds
//
// SURGEGATE_CRASH_ROUNDS is how many power cuts the random crash test makes; 5 when unset.
package queuetest

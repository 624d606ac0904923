// Package queuetest is the conformance suite of package queue: every engine passes it.
//
//	func TestConformance(t *testing.T) {
//		queuetest.Run(t, func(t *testing.T) queuetest.Harness { … })
//	}
//
// # What a harness gives
//
// A harness has storage that outlives the queues opened on it, a Manual clock that all of them use, and Crash, which
// simulates a power cut. After the next Open everything must be there that was acknowledged before Crash began. What was
// not acknowledged may be there or not, but no half of an item. The suite still closes the queue that was open during the
// power cut; what that queue does then must not reach the storage.
//
// # Rounds
//
// SURGEGATE_CRASH_ROUNDS sets how many power cuts the random crash test makes. The default is 5.
package queuetest

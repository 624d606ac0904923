// Package kernel is what a discrete-event simulation stands on: a timer structure, queues and records for tens of millions.
//
// # Wheel
//
// A Wheel hands events out in the order of (time, sequence): of two at the same nanosecond the one that was added first.
// It is a radix structure of four levels of 1024 slots. A slot of the lowest level is 2^20 ns (1.05 ms), one of the next
// level 1024 of those (1.07 s), then 18 minutes, then 13 days.
//
//	Add ──► the level of the highest digit in which the event's slot differs from the present one
//	Next ─► the present slot, sorted; when it is empty the next one that is not (a bitmap tells);
//	        a slot of a higher level is spread over the one below when its time comes
//
// So an event is moved three times at most, however many are pending, where a binary heap of ten million costs some
// twenty cache misses for each. Slots are chains of blocks of 62 events in one slab: no pointers for the garbage
// collector, and no more memory than is pending.
//
// What is added for a time that has passed is due at once: after what has been handed out, before what is later.
//
// # Fifo and Slab
//
// A Fifo is a line, a Slab holds records by number. Both grow by chunks, so that nothing is copied and memory never
// doubles, and use again what was freed.
//
// # Failure rules
//
// Taking from an empty Fifo panics: it is a fault of the caller. Sequences are 32 bits and compared as such numbers are
// (RFC 1982), which is right as long as events of one nanosecond were added within 2^31 of each other.
package kernel

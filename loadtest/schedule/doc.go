// Package schedule runs a load generator's events on one goroutine, from an absolute schedule: open loop, so that a slow
// server never slows the arrivals. RunItems does the same with a goroutine for each item; a Loop is for rates at which that
// costs more than the item.
//
// A Loop merges three kinds of events:
//
//	planned  from a Source, one after the other in order of time; never more than one is read ahead, so that the memory
//	         does not grow with the trace. Their lag behind the planned time is what a Report tells.
//	timed    put there with At by an event that ran: a person who comes back in four seconds
//	posted   by any goroutine with Post: the answer to a call
//
// Every event runs on the goroutine that called Run, so what only events touch needs no lock. Timed and planned events run
// in order of (time, order of arrival), a planned one before a timed one of the same time. Posted events run between them, in the
// order in which they were posted, before anything that becomes due later.
//
// # Time
//
// Times are durations since Config.Start. They are the times for which things were planned: latency must be counted from
// them (no coordinated omission). Now is the clock as the loop last read it: once for each planned event and once for each
// round of others, which is what sub-microsecond events can afford.
//
// # End
//
// Run returns when the Source is exhausted, no timed event waits and nothing is held; Hold says that a Post is still to
// come, Release that it came. When its context ends before, the planned events that did not run are counted as dropped
// (intended = sent + dropped, always: Run asks the Source for the rest), timed and posted ones are forgotten. Post returns
// false from then on.
//
// # Failure rules
//
// A Source that goes back in time is an error, because its trace is not what it seems. An event that blocks delays all
// others, and shows as lag. A run whose lag's 99th percentile is over Config.MaxLag is invalid: Report.Valid says so.
//
// # Cost
//
// On the machine it was written on (go test -bench Loop): a timed event 25 ns with ten waiting, 150 ns with a hundred
// thousand; a planned one 65 ns, most of it the clock; a posted one 135 ns while another core posts as fast as it can. None
// allocates.
package schedule

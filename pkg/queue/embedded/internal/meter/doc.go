// Package meter makes the engine's series. Counters and histograms are fed by the engine's loops; what is held is read at
// each scrape from one snapshot under the engine's lock, so that in one scrape these hold among each other, lane by lane:
//
//	surgegate_queue_jobs, all states together = what was held at the start + surgegate_queue_in_total − surgegate_queue_out_total
//	surgegate_queue_conservation = 0
//
// In and out are this process's: they begin at 0 with it. A job whose ticket goes on in another lane leaves one and comes
// into the other. A coalesced ask is no job. The free disk is read by the engine once a second, not by the scrape: a disk
// that hangs must not take the metrics with it. Until it was read, or where the system does not tell, it is NaN: 0 would be
// an alarm.
package meter

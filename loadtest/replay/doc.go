// Package replay starts things at the times of an absolute schedule: open loop, so that a slow server never slows the
// arrivals. Each item is told its intended time, from which latency must be counted (no coordinated omission).
//
// intended = sent + dropped, always: what the run's end finds unsent is dropped and counted. The lag of each start behind
// its intended time is measured; a Report whose 99th percentile is over the bound says that the run is invalid, because
// then the generator, not the system, shaped the load.
package replay

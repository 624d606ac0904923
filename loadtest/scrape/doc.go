// Package scrape plays those who watch a gateway while it storms: a Prometheus that scrapes /metrics in each of its formats,
// and an operator who asks for the status. Watch does so until its context ends and tells what that took.
//
// Times are the watcher's own, from the request to the last byte of the answer. On a machine that the storm keeps busy they
// hold the wait for a processor on both sides; Idle, taken when the storm is over, does not, and is what gathering and
// writing the same series costs by itself.
//
// An answer that is an error, or that cannot be read, ends Watch with it: a gateway that cannot be watched in a storm has
// no figures.
package scrape

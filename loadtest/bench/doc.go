// Package bench measures what surgegate costs, each figure with its reference in the same run on the same machine.
//
//	figure                     reference                                             stated as
//	durable accepts/s          calls/s of a bare gRPC echo with the same messages    ratio, median of interleaved rounds
//	accept p99                 the echo's at the same rate                           at half of the accepts/s, open loop
//	completion with wait, p50  SetPasswords called straight at the same store, p50   difference
//	tickets queued             –                                                     memory, time to reopen, disk
//	SQLite batch writes/s      single synced writes/s                                ratio
//	PostgreSQL batch writes/s  one-row transactions/s at their best concurrency      ratio
//	goodput and its kin        the best of five limiters, in virtual time             one row a store model, and the worst
//	generator                  ghz and k6 against the same echo                          see compareGenerators
//	a simulated storm          –                                                     seconds, memory
//	a simulated storm          the same through the real gateway and victim            ratios, see measureAgreement
//	synth                      –                                                     events/s of a trace to disk
//	record                     accepts without a recording                           ratio, median of interleaved rounds
//	metrics                    –                                                     bytes of a scrape, its time and GetStatus's, at 100 times too much offered
//	capacity                   see loadtest/capacity: the whole program against stores that fall over
//	observe                    see loadtest/observe: how long until a fault that nobody announces can be named
//
// Servers are processes of their own: the real surgegate binary, and this program as the echo. Client and server share
// the machine in both. While accepts are measured the store works at 200 look-ups a second, so the line grows as in a
// storm; nothing is switched off.
//
// Rounds are interleaved (echo, surgegate, echo, …), because the machine's speed drifts; medians are told. A goal that
// is missed is a row with ok: false, not an error: the figure is the result.
package bench

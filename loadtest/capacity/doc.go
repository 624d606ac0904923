// Package capacity runs the whole program in real time against stores that fall over: the surgegate binary with no
// capacity configured, a victim (loadtest/victim) as store.grpc, each a process of its own, and clients that retry.
// loadtest/pacelab asks the same of the controller alone, in virtual time, over many seeds.
//
//	part      alone on the machine   what it asks
//	storm     yes                    goodput at 10x, 50x and 100x; completions served while the rest is shed; refusals
//	answers   yes                    the accept path at 10x with the hash pool busy, beside unloaded
//	models    all models at once     goodput, inside ÷ knee, deaths, recovery, ETAs, a model at a time and over all
//	quiet     yes                    what it costs when nothing happens
//	baselines all at once            the same stores driven by loadtest/baseline, no gateway; only when it is named
//
// # What a store's best is
//
// Before each part a plain closed loop of exactly the victim's best number of calls (Config.Best) sets passwords straight
// at the victim's process for a few seconds: what it delivers is the reference, measured in the same run on the same
// machine. Goodput is what the store delivers through surgegate: passwords, and look-ups counted by what they cost of a
// password's work. While a step has changed the store, its best is the reference × what the model says of the step.
//
// # How load is made
//
// Calls are started from an absolute schedule (loadtest/replay), so slow answers slow nothing down. Tokens are signed with
// the gateway's own keys while the run is set up. An offered load of 10x is that many first calls as ten times the
// passwords that the store can set; what refused clients add comes on top: three in ten retry at once, the others as the
// gateway tells them, three attempts each; the row beside each goodput says what it came to. Latencies are those of a call from its sending, because generator, gateway
// and store share the machine; how late the generator was is a row of its own.
//
// When something was applied is what the victim's ledger says, so nobody polls. An ETA's truth is the time from the
// answer to the ledger's entry.
//
// Where the machine was too busy to make the load on time, p99 over 100 ms in a phase of the storm and over 250 ms
// where lines are seconds long, the rows say INVALID: they tell nothing of surgegate. But the generator is not all that can be starved: a
// gateway that waits for a processor delivers less as well, and no row can tell that from a fault of its own. The storm of
// 100x makes about 8000 calls/s, so it wants two processors of its own.
//
// # What the baselines are, and are not
//
// loadtest/drive feeds them a backlog that never ends, straight at the store. They begin where their authors begin them (20
// calls, AIMD 10), and there is no breaker before them: what a site would have to build around them is not compared.
//
// # Windows
//
// A model runs for 88 s. Completions come at 1.3 times the best from a burst of 3 s worth, until 65 s, so there is
// always a backlog until about 85 s. Finding out lasts until 25 s and is not part of "holding"; steps come at 25 s and
// later; figures are taken until 80 s. Back to normal
// is when three seconds together are within 10 % of the best, less one standard error of their count, as in pacelab.
//
// # Failure rules
//
// A goal that is missed is a row with ok false. An error is a fault of the tool: a program that does not start, a victim
// that ends of anything but its bounds.
package capacity

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
// # Windows
//
// A model runs for Length, 95 s. Completions come at 1.3 times the best from a burst of 3 s worth, until 65 s, so there is
// always a backlog until about 85 s. Finding out lasts until 25 s and is not part of "holding"; steps come at 25 s and
// later; figures are taken until 80 s, and a row whose backlog ended before says so.
//
// # Failure rules
//
// A goal that is missed is a row with ok false. An error is a fault of the tool: a program that does not start, a victim
// that ends of anything but its bounds.
package capacity

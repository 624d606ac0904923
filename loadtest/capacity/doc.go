// Package capacity runs the whole program in real time, with no capacity configured, against stores that fall over. Gateway and
// victim are processes of their own. loadtest/control asks the same of the controller alone, in virtual time.
//
//	part       runs               asks
//	storm      alone              goodput at 10x, 50x and 100x; completions served while the rest is shed; refusals
//	answers    alone              the accept path at 10x with the hash pool busy, beside unloaded
//	models     all models at once goodput, inside ÷ knee, deaths, recovery, ETAs of each store model
//	quiet      alone              what it costs when nothing happens
//
// # The reference
//
// Before each part, a closed loop of the victim's best number of calls (Config.Best) sets passwords straight at the victim for a
// few seconds. Goodput is what the store delivers through surgegate: passwords, and look-ups by their share of a
// password's work. While a step has changed the store, its best is the reference times what the model says of the step.
//
// # The load
//
// Calls start from an absolute schedule (schedule.RunItems). 10x means ten first calls for each password that the store can
// set; retries come on top: three in ten clients retry at once, the others when the gateway says, three attempts each. The
// victim's ledger says when something was applied. An ETA's truth is the time from the answer to the ledger's entry.
//
// A phase whose schedule lag p99 is over 100 ms (250 ms where lines are seconds long) is INVALID: the machine was too busy. A
// gateway that lacks processor time delivers less too, and no row can tell. The storm of 100x wants two processors.
//
// # Windows of a model
//
// 88 s: completions at 1.3 times the best, after a burst of 3 s worth, until 65 s, so there is a backlog until about 85 s.
// Finding out lasts until 25 s and is not part of holding; steps come from 25 s on; figures count until 80 s. Back to
// normal is when three seconds together are within 10 % of the best, less a standard error.
//
// # Failure rules
//
// A missed goal is a row with ok false. An error is a fault of the tool: a program that does not start, or a victim that ends for
// another reason than its bounds.
package capacity

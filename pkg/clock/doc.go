// Package clock is the only place that reads the time: System in production, Manual in tests and simulations, and the
// clamp without which golang.org/x/time/rate over-admits.
//
// # Manual
//
// A Manual clock moves only by Advance. Its timers fire inside Advance, in the order of their deadlines (and of their
// making, where deadlines are equal), each while the clock shows exactly its deadline. A timer's channel holds one
// value, as that of a time.Timer; Stop and Reset drop a value that was not received, as Go does since 1.23. A test waits for the
// code under test to reach its wait with BlockUntil(n), never with a sleep:
//
//	go worker(clk)                 // waits on a timer of clk
//	clk.BlockUntil(1)              // returns once it does
//	clk.Advance(time.Second)       // fires it
//
// # Clamp and Limiter
//
// Decision code gets its time as an argument, so two goroutines can bring their times out of order: each read the
// clock, then one was faster to the lock. rate.Limiter takes an older time as its new "last" and so refills the same
// span twice (golang/go#65508, #71360; still so in x/time v0.16.0). Clamp turns any sequence of times into one that
// never goes back; Limiter clamps under the lock under which it calls the limiter, so that nothing comes between.
//
// Limiter also gives back: a rate.Reservation cannot be cancelled once its time has come, which for an admitted call
// is at once, but AllowN with a negative n returns tokens, and the bucket never holds more than its burst.
//
// # Failure rules
//
// Time that goes back (a clock set by hand, a virtual machine moved) stops the refill until the old time is reached
// again. System times carry a monotonic reading, so this concerns only times that were stored and read again: such
// times do not belong into a Limiter.
package clock

// Package clock is the only place that reads the time. System is the machine's clock, Manual is a clock for tests and
// simulations, and Limiter is a token bucket that tolerates times out of order.
//
// # Manual
//
// A Manual clock moves only by Advance. Its timers fire inside Advance, in the order of their deadlines and, for equal
// deadlines, in the order in which they were started. While a timer fires, the clock shows its deadline. A timer's channel
// holds one value. Stop and Reset drop a value that was not received, as those of time.Timer do. A test waits with BlockUntil
// until the code under test has started its timer, never with a sleep:
//
//	go worker(clk)                 // starts a timer of clk
//	clk.BlockUntil(1)              // returns once it has
//	clk.Advance(time.Second)       // fires it
//
// # Clamp and Limiter
//
// Decision code gets its time as an argument, so times can arrive out of order: two goroutines read the clock, and the one
// with the later time gets the lock first. rate.Limiter then takes the older time as its new "last" and refills the same
// span twice (golang/go#65508, #71360; still so in x/time v0.16.0). Clamp turns any sequence of times into one that never
// goes back. Limiter clamps under the lock under which it calls rate.Limiter.
//
// Limiter can also give tokens back. A rate.Reservation cannot be cancelled once its time has come, which for an admitted
// call is at once. AllowN with a negative n returns tokens, and the bucket never holds more than its burst.
//
// # Failure rules
//
// When the time goes back, the bucket does not refill until the old time is reached again. Times of System have a monotonic
// reading and do not go back. Times that were stored and read again can, and must not be given to a Limiter.
package clock

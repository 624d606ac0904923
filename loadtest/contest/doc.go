// Package contest runs pkg/pace's chart and the limiters of loadtest/baseline against the stores of loadtest/pacelab, each
// with the same seeds, and makes one page and one JSON file of it.
//
//	every shape × {2–20 ms, 250–500 ms} × seed × {chart, nothing, fixed, aimd, gradient2, vegas, failsafe}
//
// What is the same for all: the store, the backlog that never ends, deadlines of 5 s whose work stays inside, and the
// breaker in front. A limiter alone has none, but without it every baseline would keep a stalled store buried, and the
// comparison would be of breakers. Batches are as large as the store takes them; only the chart looks for a size.
//
// What is not: the fixed bucket is told the store's best rate at the start, which nobody can know of a store that
// changes; the chart's limit may go to 1000, theirs to 2000, as their packages say.
//
// # Figures
//
//	goodput         items completed ÷ the store's best, after the warm-up; a store that is down after a crash counts as up
//	recovery        s from a step until the next three together are within 10 % of the best, less a standard error
//	inside, holding calls inside, abandoned ones too, ÷ knee, mean after the warm-up; of shapes without steps
//	inside, peak    the highest before the first step
//	crashes         in one run; late ones after its first minute
//
// Beside them: replicas of a gateway on one store, 2 to 16, with one chart for all (pkg/pace/replica, half a second of lag each
// way) and with one each, on workers and usl of both speeds. sum ÷ best is the goodput of all, Jain (Σx)² / (n·Σx²) of theirs.
//
// Over seeds, the median and the worst are told. A goal that is missed is a goal that is missed: nothing here fails for it.
package contest

// Package interval says how sure a difference between two arms of a comparison is.
//
// Both arms met the same people (common random numbers), so what is looked at is each person's own difference, and what
// the crowd has in common cancels out. People who came at the same time met the same queue and are not independent of each
// other: so they are put together into batches by the time of their coming (batch means; Law, Simulation Modeling and
// Analysis, 9.5), and the batches are what is drawn from: a percentile bootstrap (Efron 1979) of their means. Over several
// rounds with different seeds the rounds' differences are independent, and Student's t is taken.
//
// What an interval of one round does not cover is another storm on another machine.
package interval

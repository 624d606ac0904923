// Package draw makes common random numbers: every random decision of a storm is a pure function of (seed, person, draw
// number), never of the order in which things happened. Two arms of a comparison therefore meet the same people with the
// same patience, and differ only in what the systems did.
//
// The mixer is the finaliser of SplitMix64 (Steele, Lea, Flood 2014), applied once per key; it passes BigCrush as a
// counter-based generator, and costs about 3 ns.
package draw

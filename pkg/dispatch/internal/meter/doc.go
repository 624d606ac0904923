// Package meter measures what a lane can do, and computes from what was published when start tickets turn final.
//
// # Rate and service
//
// The rate is that of jobs ended while the lane had work all the time; a window in which it waited for work shows only
// that it can do at least as much, and one in which its downstream was out shows nothing. Service is a high percentile
// (95 %) of the time from lease to end of the last 256 jobs.
//
// # When a start ticket turns final
//
// Waits.DoneAfter is the sum of the look-up, the mail lane's wait as published last and outages so far, rounded up to
// 250 ms, an hour at most: a promise about the lanes as a whole, never about a job in hand.
package meter

// Package publish writes once a second what the lanes can do, for the request side and for start tickets: rate, service time, and
// since when a lane stands still, because its downstream is out or because an operator has paused it.
//
// Only what has changed is written. What is written is package decide's, which keeps few people's mails from showing.
//
// # Failure rules
//
// A queue that cannot be read or written for a while is logged, and asked again a second later; a queue that is closed ends Run.
package publish

// Package prom runs a real Prometheus beside a test, and asks it.
//
//	Start ─► process on a free loopback port, data in a folder ─► At, Number, Between, Extremes, Ask ─► Close
//
// Ask sends a query as a panel would and says what a reader would stumble over: an error, points that are infinite,
// a remark of Prometheus's own (of a rate of what is no counter); and how many
// points it would see. An alert that does not fire is empty by
// design; so that a misspelt metric in it does not pass for calm, Prometheus takes the expression apart (its parse_query) and
// each selector must find series by itself.
//
// # Failure rules
//
// What Prometheus refuses is a fault of the query in Ask, and an error elsewhere. Close kills the process: nobody wants its data.
package prom

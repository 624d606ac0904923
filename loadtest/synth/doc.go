// Package synth writes a scenario's arrivals as a trace: first attempts only, every one exogenous, in the order of time.
//
// A trace of 15 million people is about as many lines; it is streamed, so memory does not grow with it. The same scenario,
// window and seed give the same bytes. Who a line is: people are numbered from 0 in the order of their coming, attackers and
// scanners by themselves; the source tells them apart. Scanners fetch links, which a fragment keeps from the server, so a
// replay leaves their lines out; they are in the trace because a web server in front would see them.
//
// A file that is there already is not written over, and one that could not be finished is taken away.
package synth

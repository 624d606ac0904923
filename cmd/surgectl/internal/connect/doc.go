// Package connect is the way to a surgegate's operator listener, and what its errors become for a person: a sentence that says
// what is wrong and what to do, a kind that programs can tell apart, and an exit code.
//
//	kind           exit  when
//	fault             1  the surgegate was reached and could not do it, or something failed here
//	usage             2  the command line is wrong, or a value of it is; also: it asks first, and there is nobody to ask
//	nothing_done      3  what was named is not there, or the answer to the question was no
//	unreachable       4  nobody answers at the address, or not in time
//	login_refused     4  it answers and does not let us in
//
// Without --ca everything is in clear text, which is allowed to loopback only. A web proxy of the environment is never used:
// the operator's listener is inside.
package connect

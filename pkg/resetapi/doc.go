// Package resetapi serves surgegate.reset.v1.PasswordReset, the API of the front ends. It converts requests for the gate and the
// gate's answers for the wire, and it holds the error table: which gRPC status each error of surgegate has. It decides nothing about
// resets, and it does not listen: package edge serves it.
//
// # Who is calling
//
// Deps.Caller says which connection a call came over and whether its caller is trusted. The Client message of a trusted caller says
// on whose behalf it calls. The Client message of anybody else is ignored whole, locale and verdict included, and counted; the
// person's address is then the address of the connection.
//
// # Errors
//
// Status turns any error into what the caller sees. Only the public part of a *reset.Error and field violations get through;
// a cause never does. A refusal that a later call may pass carries RetryInfo and the same time as pushback (a trailer that gRPC
// libraries obey), so the refused call ends with its trailers alone. Whoever refuses has spread the time at random. Where
// nobody knows a time, it is made up here: 0.5 to 1.5 s.
package resetapi

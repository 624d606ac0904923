// Package recording writes the calls that a gateway gets as a storm trace (pkg/stormtrace), so that a real storm can be
// replayed against a staging system. It tells who came again, and never who anybody is.
//
//	Observe ─► bounded channel ─► one goroutine: hash, sort, write, flush every second
//	             │ full
//	             └─► dropped, counted
//
// # Who
//
// A person is the first 64 bits of HMAC-SHA-256 over what the call names, under a key that is drawn at the start and kept
// nowhere: of a start its identifier, of a check and a completion the account in the token (not the token; of one that
// cannot be read, the caller's address), of a ticket its id. So a start and its completion have different numbers, and two
// recordings cannot be laid beside each other. Neither identifiers, addresses, tokens nor passwords are written.
//
// Calls are recorded whose request can be read; WatchTicket, a stream, is not. Nothing tells a bot from a person here, nor
// who sits behind one address: a replay makes a person of each, and of a client in a loop the first call only.
//
// # Cause
//
// Checks, completions and tickets follow from what the system did: endogenous. A start is one of its own (exogenous), unless
// the same person asked within the last minute or two, or the caller's gRPC library says that it tries again. Those of the
// last minutes are kept in two sets of at most 250,000, 16 bytes each, that take turns; past that a repeat may count as
// exogenous.
//
// # Failure rules
//
//   - A call never waits: with the channel full its event is dropped and surgegate_record_dropped_total counts it.
//   - The file must not be there: a gateway that may be started again wants {time} in its name. One that cannot be made ends
//     the start; a disk without room does not, it is logged and nothing is recorded.
//   - With less than MinFree left on its disk a recording ends, before the queue has to stop accepting.
//   - An error of the disk ends the recording, is logged once, and counts every later event as dropped. The gateway goes on.
//   - Close writes what came before it. After kill -9 the file holds what was flushed, a second or two less than everything.
//   - Calls that arrive out of order within a second are sorted; a later straggler gets the time of the last one written.
package recording

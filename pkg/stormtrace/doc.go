// Package stormtrace is the trace of a storm: who called what when, without saying who anybody is. The gateway records
// them from live traffic, storm synth makes them from a model, storm run replays both.
//
// # Format
//
// JSON lines, in zstd or plain, a header first, then events in the order of their times:
//
//	{"fmt":"storm-trace","v":1,"t0":"2022-08-24T03:00:00Z","unit":"us","seed":7,"model":{…},"id":"hmac"}
//	{"t":812345,"u":918273,"op":"start","src":"mail","cause":"exo","att":0,"dl_ms":3000}
//
//	t      µs since t0, at least 0 and never less than the line's before
//	u      a person: a keyed hash (id "hmac") or a number (id "number"); never an address
//	op     start, check, complete, ticket; or scan, a mail scanner's fetch of a link
//	src    why: live (not known), mail, revoke, attack, scan, office, loop
//	cause  exo: they came by themselves; endo: in answer to what the system did before
//	att    attempts of the same call before this one
//	dl_ms  deadline of the call; 0: none
//	off    the office whose people share one address; left out: none
//
// A reader takes fields in any order, with spaces, and ignores those that it does not know. t and op must be there; src is
// live where it is missing, cause exo, the rest 0. Lines with the same t keep their order.
//
// # Failure rules
//
//	written out of order              ErrOrder; nothing was written
//	the file is there already         an error: a trace is never written over
//	another format or version         ErrFormat, ErrVersion, with what to do
//	a line that is no event           ErrFormat with the line's number
//	read out of order                 ErrOrder with the line's number
//	the file ends in the middle       every whole event, then ErrTruncated with their number; the rest was never written,
//	                                  as after the recorder's death: what Flush returned for is there
//
// # Cost
//
// Both ways are made by hand for lines as Writer makes them, since encoding/json takes three times as long and more (BenchmarkWrite,
// BenchmarkRead); other lines are read by encoding/json.
package stormtrace

// Package stormlog reads, writes and records storm logs. A storm log lists the calls of a reset storm: what was called,
// when, and by whom under a pseudonym. The command line calls the file a trace; it has nothing to do with OpenTelemetry
// traces. surgegate serve --record records one from live calls, storm synth makes one from a model, and storm run replays
// both.
//
//	Writer ─► file ─► Reader                                the format
//	Recorder.Observe ─► bounded channel ─► one goroutine: hash, sort, write, flush every second
//	                      │ full
//	                      └─► dropped and counted
//
// # Format
//
// A storm log is JSON lines, compressed with zstd or plain. The header is the first line. Events follow in the order of
// their times:
//
//	{"fmt":"storm-trace","v":1,"t0":"2022-08-24T03:00:00Z","unit":"us","seed":7,"model":{…},"id":"hmac"}
//	{"t":812345,"u":918273,"op":"start","src":"mail","cause":"exo","att":0,"dl_ms":3000}
//
//	t      time in µs since t0; at least 0, and at least the t of the line before
//	u      pseudonym of a person: a keyed hash (id "hmac") or a number (id "number"); never an address
//	op     call: start, check, complete, ticket; or scan, when a mail scanner fetched a link
//	src    why the person came: live (not known), mail, revoke, attack, scan, office, loop
//	cause  exo: the person came unprompted; endo: the call followed from an earlier answer of the system
//	att    earlier attempts of the same call
//	dl_ms  deadline of the call in ms; 0: none
//	off    number of the office whose people share one address; absent: none
//
// A reader accepts the fields in any order and with spaces, and ignores unknown fields. t and op are required. A missing
// src means live, a missing cause means exo, and every other missing field means 0. Events with equal t keep their order.
//
// # Failure rules
//
//   - Writing an event out of order fails with ErrOrder and writes nothing. An existing file is never overwritten.
//   - Reading fails with ErrFormat, ErrVersion or ErrOrder. The text names the line and says what to do.
//   - A file that ends in the middle yields every complete event and then ErrTruncated. All events written before the
//     last successful Flush are complete.
//   - A Recorder never delays a call. See Recorder for what it drops and when it stops.
package stormlog

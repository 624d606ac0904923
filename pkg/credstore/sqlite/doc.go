// Package sqlite is the credential store that surgegate uses when it is given none: one SQLite file, no set-up.
//
// # Tables
//
//	accounts           id, login (unique, case-blind), address, locale, hash (PHC string, empty: no usable password),
//	                   not_resettable, password_time (µs; when the site itself last changed the password, 0: never)
//	sessions           id, account_id, begun (µs)
//	surgegate_changes  account_id, sequence, change_id, accept_time (µs) of the last change that was applied
//
// surgegate_changes is a side table because a credential schema that has grown elsewhere has no place for them; it is
// written in the same transaction as the hash, so that a change is in place with its sequence or not at all.
//
// # One batch
//
//	batch ─► BEGIN IMMEDIATE ─► for each item: read account and last change ─► decide ─► write both rows ─► COMMIT (fsync)
//	                               └─ an item's own error: roll back, answer it with RetryItem, run the others again
//
// One item is decided in this order: no such account is UnknownAccount; something that is not a PHC string is Refused
// (a plaintext is never stored, whatever went wrong before); the last change's id is AlreadyApplied; a sequence that is
// not above the last one, or a password that the site itself changed after the accept time, is Superseded.
//
// # Why batches
//
// One synced transaction costs an fsync whether it carries one item or 256. BenchmarkSetPasswords, on 2 cores with an
// fsync of 0.24 ms: 4.4 k changes/s one by one, 83 k/s in batches of 256, 19 times as many.
//
// # Connections
//
// One connection writes, because SQLite has one writer anyway and waiting in database/sql honours the context, which
// waiting in SQLite's busy handler does not. The others read, in WAL mode beside the writer. synchronous=FULL: an
// answered batch survives a power cut.
//
// # Errors
//
// SQLITE_BUSY, LOCKED, FULL and IOERR wrap credstore.ErrOverloaded: they pass, and nothing is wrong with the batch. A
// file that is no database, cannot be opened, or has a newer schema wraps credstore.ErrConfig. Texts of the driver
// never name an account.
package sqlite

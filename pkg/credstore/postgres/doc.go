// Package postgres puts surgegate before accounts that already live in PostgreSQL (12 or newer), whatever their tables
// are called.
//
// # What it is told
//
// Either names (a table, its columns; taken exactly as written, case included, and always quoted) or whole SQL
// statements, or some of each. It is never told passwords: the role's comes from a file or from the usual PostgreSQL
// environment (PGPASSWORD, PGPASSFILE, ~/.pgpass).
//
// # State
//
// One table of surgegate's own beside the accounts, because a schema that has grown elsewhere has no place for it:
//
//	surgegate_changes  account_id (text, primary key), sequence, change_id, accept_time of the last change that was applied
//
// It is written in the same transaction as the password, so that a change is in place with its sequence or not at all.
// In memory there is a pool of connections and a plan: the statements, made from the configuration and from the types
// of the columns as the catalog tells them. Nothing else.
//
// # Its role
//
// cmd/surgegate/README.md has the grants that it needs; readme_test.go runs them as they stand there and checks that nothing
// else is allowed. A column that is not configured needs none, and a hash that is not shared is never read. A server that logs
// slow statements logs their parameters, hashes and ids among them; only a superuser can keep them out
// (log_parameter_max_length).
//
// It makes the table itself only where Changes.Create says so, and then the role needs CREATE in the schema.
//
// # One batch
//
//	SetPasswords ─► BEGIN; bounds; one statement; COMMIT, sent together: one round trip, one fsync
//	                  locked   the accounts' rows FOR NO KEY UPDATE SKIP LOCKED, in order of their ids
//	                  put      upsert into surgegate_changes where the sequence grows and the change is another
//	                  written  the password, for what was put
//	             ─► for items that were not put, one more: is the account there, which change is in place?
//
// Locking never waits, so batches cannot deadlock with each other or with the site, and a row that somebody else holds
// is RetryItem for its own item only. FOR NO KEY UPDATE does not collide with foreign keys: a sign-in that inserts a
// session does not make its account busy. Whoever writes an account's change holds that account's row, so the upsert
// sees the last one: ON CONFLICT looks at the newest version of the row, not at the statement's snapshot.
//
// An item that was not put is decided in this order: no such account is UnknownAccount; a row that was not locked is
// RetryItem; the last change's id is AlreadyApplied; everything else is Superseded (a sequence that is not above the
// last one, or, where Accounts.PasswordTime is configured, a password that the site itself changed after the accept
// time). What is not a PHC string is Refused without asking: a plaintext is never stored, whatever went wrong before.
//
// A password that was put and not written (a trigger returned NULL, a policy hides the row) aborts the transaction: a
// change must not count as applied that is not. surgegate then bisects the batch down to that item.
//
// # Whole statements
//
//	lookup, lookup_ids   $1 text[]  →  n bigint, id, address [, locale, hash, not_resettable boolean]; n counts from 1 in $1
//	lock                 $1 text[] account ids  →  n bigint, account_id [, password_time timestamptz]; rows that others
//	                     hold are left out: FOR NO KEY UPDATE SKIP LOCKED
//	set                  $1 text[] account ids, $2 text[] hashes, $3 timestamptz[] accept times  →  one row (returned
//	                     or affected) for each account, or the transaction is rolled back
//	revoke               $1 text[] account ids, $2 timestamptz[] moments  →  nothing, or n bigint, ended bigint
//
// With lock and set a batch takes three round trips instead of one: which accounts set is called for is known only
// after the changes were put.
//
// # Bounds
//
// Everything runs in READ COMMITTED, whatever the role's default. statement_timeout is what is left of the call's
// deadline less a margin, so that the server gives up first and the connection stays good; a call that is cancelled
// sends a cancel request, so that the server does not go on for nobody. lock_timeout bounds waiting for a table that is
// being altered. Sequential scans are switched off for these transactions: plans do not flip while tables grow. A role
// whose synchronous_commit is off is not taken at its word: an answered batch survives a power cut.
//
// # Start
//
// New connects and checks: tables, columns, types, privileges, a unique key, statements with their parameters and
// result columns. Each finding says what to do and wraps credstore.ErrConfig. A server that is away is no finding: the
// first call that reaches it checks. Describe runs every statement for no items and rolls back; where that shows that the
// schema was changed under surgegate it checks again, tells it in the same words, or takes a new column type over.
//
// # Errors
//
//	08, 53, 57P0x, 57014, 55P03, 55006, 40, 58, 25006,      credstore.ErrOverloaded
//	connections refused or lost, a pool that is in use
//	42, 28, 3D, 3F, 57P04, 0A, 26, certificates             credstore.ErrConfig
//	the caller's own context                                its error (a deadline also wraps credstore.ErrOverloaded)
//	anything else, such as a constraint or a trigger        neither: surgegate bisects the batch
//
// After 25006 (a standby that was the primary) and every FATAL error the connection is dropped. A connection that is
// lost while committing leaves open whether the batch is in place: it is delivered again and answered AlreadyApplied.
// Errors hold the SQLSTATE and our own words, never the server's, which may quote what an account holds.
//
// # Why batches
//
// One transaction costs a round trip, an fsync and its messages whether it carries one item or 256. `storm bench --only
// postgres`, on 2 cores that the client shares and fsync on: 28 µs of the server's processor time a write in batches of
// 256, 172 µs in transactions of one row (which write the same two rows), and 5.6 to 7.9 times the rate. Of the 28 µs the
// update itself takes 13, the lock 4, the side table 10; waiting for nobody and applying once is what they buy.
package postgres

// Package pgstore is the victim that is not simulated: a CredentialStore v1 server before a real PostgreSQL, by the
// reference implementation in pkg/credstore/postgres. How much it takes is the database's affair, and the disk's.
//
//	New: [Init: tables, accounts] ──► the schema is checked ──► listening ──Run──► ctx ends: calls are cut off, connections closed
//
// Its accounts have the ids and identifiers of the simulated victim, so that the same storms can be let loose on both: table
// storm_accounts (id, email, password_hash) and surgegate_changes, in the role's search_path. Init makes what is missing and
// leaves alone what is there, so that it can be run again, with more accounts too. Without Init a missing table or privilege
// is an error that says how to grant or make it, and a database that cannot be reached is one too: a victim that is down from
// the start is a mistake, not a model.
package pgstore

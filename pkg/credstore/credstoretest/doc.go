// Package credstoretest is the conformance suite of the credential store port. Every adapter, every fake and every
// backend behind the gRPC contract passes it: Run takes a factory of fixtures and checks the promises of
// pkg/credstore one by one, failure paths first.
//
// A fixture is a fresh, empty store with a back door: the suite has to put accounts in, to see the password that is in
// place, and (for stores that are revokers too) to begin and count sessions.
package credstoretest

// Package reload puts a changed configuration into force while the process runs.
//
//	file and environment ─► load, validate ─► diff by key ─► audit ─► apply ─► in force, overrides on top again
//	                            │ wrong: refused   │ a key that needs a restart: refused, by name
//	                            ▼                  ▼
//	                      what is in force stays, whole
//
// All or nothing: whoever reads the file must be able to believe it. One key that needs a restart refuses the others too,
// and a part that cannot be applied takes the parts before it back.
//
// Overrides lie on top (package steer): a reload changes what comes back when they end.
//
// Not hot: what is listened on, kept, keyed or connected, and what a caller or a mailed link already relies on. Certificates,
// operators' tokens and blocklists have files of their own, which are read again without a reload.
//
// # Failure rules
//
//   - A file that cannot be read, or is wrong, changes nothing; the error has file and line, in the log and to who asked.
//   - Without a file there is nothing to read again; the error says so.
//   - Two reloads at once take turns.
//   - Values of URLs are never shown: they may carry secrets.
package reload

// Package config reads surgegate's configuration: a strict YAML file, then environment overrides, then each package's
// own Config.
//
// # Rules
//
//   - Every key has a default, an environment override (SURGEGATE_ and the path in capitals: listen.grpc is
//     SURGEGATE_LISTEN_GRPC), a unit, and a line in `surgegate check --explain`. All four come from one place, the
//     struct tags of Config; the defaults come from the packages themselves, so that a library user and a file have
//     the same ones.
//   - An unknown key, a key given twice, a missing or wrong unit, an impossible combination is an error with file,
//     line and what to write instead. All errors that can be found are reported at once, not the first alone.
//   - Sizes and times carry their unit: 20GiB, 30s, 20/m. A bare number is refused, because 30 may be seconds to the
//     one and milliseconds to the other.
//   - Without a file the embedded queue, an SQLite store with sample accounts and a maildir are used, on loopback
//     only. With a file, store and mail must be named: samples are never made by leaving something out.
//   - A key that is tagged hot can be changed while the process runs (Diff, `check --explain`): it bounds or shares out, and
//     nothing that was accepted, sealed, mailed or connected relies on it.
//   - Secrets are never values: passwords and tokens are given as paths of files.
package config

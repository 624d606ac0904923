// Package keyfile keeps keys in files. After a power cut a file is there as a whole or not at all. A file is durable before its key is
// used, and only its owner can read a private one. pkg/token and pkg/seal share the package.
//
// # Failure rules
//
// Read refuses a private file that group or others may read, and names the chmod that mends it. It does not mend the file itself: a key
// that others could read must be treated as known to them. New never overwrites: if two processes make the same file at once, one wins,
// and the other gets fs.ErrExist and reads the winner's. Temporary files (".tmp-…") that a crash has left are ignored by List and
// removed by Sweep. Whoever deletes keys must call Sweep first, because such a file may be a second name of a private key.
package keyfile

// Package keyfile keeps keys in files: whole or not at all after a power cut, durable before they are used, and private
// ones readable by their owner alone. pkg/token and pkg/seal share it.
//
// # Failure rules
//
// A private file that group or others may read is refused, with the chmod that mends it: what others could read is to
// be taken as known to them, so the file is not mended silently. New never overwrites: of two processes that make the
// same file at once, one wins and the other gets fs.ErrExist and reads the winner's. Temporary files left behind by a
// crash (".tmp-…") are ignored by List and removed by Sweep, which makers of keys call before they delete any: one may
// be a second name of a private key.
package keyfile

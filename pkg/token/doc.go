// Package token signs and verifies reset tokens. Workers sign, with private keys; fronts verify, with public ones.
//
// # Format
//
// A token is the unpadded base64url form of these bytes (integers big-endian), at most 512 characters:
//
//	0        1         2        10      18           26           34      50       51        51+n      115+n
//	+--------+---------+--------+-------+------------+------------+-------+--------+---------+-----------+
//	| 0x01   | purpose | key id | mark  | issue time | expiry     | nonce | n      | account | signature |
//	| 1      | 1       | 8      | 8     | 8, Unix µs | 8, Unix µs | 16    | 1      | n       | 64        |
//	+--------+---------+--------+-------+------------+------------+-------+--------+---------+-----------+
//
// The signature is Ed25519 (RFC 8032) over "surgegate token v1\x00" and everything before the signature. Decoding is
// strict: no padding, no line breaks, no stray bits in the last character, n from 1 to 255, no bytes after the
// signature. So one token has one spelling, and testdata/vectors.json has examples.
//
// The key id is the second from which the key signs (4 bytes) and 4 random bytes.
//
// # States of a key
//
//	announced ──Active time──► active ──its successor's Active time──► verify-only ──+ LongestTTL + LongestWait──► gone
//
// An announced key verifies too: the clock of the worker that signs may be ahead of the front's. Maintain, called
// about once a minute, makes the successor (Config.Create) so that it is announced for Config.Announce before it
// signs, reads what other processes have made, and deletes what is gone. A key whose successor could not be made
// goes on signing. Verify-only lasts as long as any token can still be needed: the longest TTL, and then the longest
// wait of a sealed completion, whose spent token the worker verifies again.
//
// Files, in keys_dir/token: ID.key (private, mode 0600) and ID.pub (public, mode 0644), PEM. A front gets the .pub
// files alone. The .key file is durable before the .pub file appears.
//
// # Failure rules
//
//   - Checks run in one order, from cheap to dear, and none depends on the account: length, base64, layout, key id,
//     signature, purpose, expiry.
//   - A key id that is not known is "not here yet" (KindKeyUnknown, come back), unless it is older than every key that
//     is known: then the key is gone, or was replaced because the queue was lost or restored, and the token counts as
//     expired. It can never become good, and "ask for a new link" is what the person needs to read.
//   - Expiry is compared with the time that the caller passes (now for a front, the sealed accept time for a worker),
//     the issue time with nothing.
//   - A file that cannot be read or parsed fails Maintain as a whole; the keys loaded before stay in use.
package token

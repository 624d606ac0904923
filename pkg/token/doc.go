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
// An announced key verifies too, because the clock of the worker that signs may be ahead of the front's. Maintain is called about once a
// minute. It makes the successor (with Config.Create) early enough to announce it for Config.Announce before it signs, reads the keys
// that other processes have made, and deletes those that are gone. A key whose successor could not be made goes on signing. A key
// verifies as long as one of its tokens can still be needed: for the longest TTL, and then for the longest wait of a sealed
// completion, whose used token the worker verifies again.
//
// Files, in keys_dir/token: ID.key (private, mode 0600) and ID.pub (public, mode 0644), PEM. A front gets the .pub
// files alone. The .key file is durable before the .pub file appears.
//
// # Failure rules
//
//   - Checks run in one order, the cheap ones first, and none depends on the account: length, base64, layout, key id, signature,
//     purpose, expiry.
//   - A key id that is not known has not arrived yet (KindKeyUnknown, come back), unless it is older than every known key. Then the key
//     is gone, or was replaced because the queue was lost or restored. Its tokens can never become valid again, so they count as
//     expired, and the person is told to ask for a new link.
//   - Expiry is compared with the time that the caller passes: now for a front, the sealed accept time for a worker. The issue time is
//     compared with nothing.
//   - A file that cannot be read or parsed fails Maintain as a whole; the keys loaded before stay in use.
package token

// Package seal encrypts what waits in the queue (passwords and personal data, under keys that are deleted on time), makes and
// opens ticket ids, and computes the keyed hashes by which the queue finds jobs without naming a person.
//
// # Keys
//
//	keys_dir/seal/password-START.key/.pub  HPKE pair of one key period (1 h); workers have both halves, fronts .pub
//	keys_dir/seal/pii-START.key/.pub       HPKE pair for identifiers, addresses and account ids
//	keys_dir/seal/tickets.secret           key for ticket ids; workers and fronts
//	keys_dir/seal/index.secret             key for hashes; workers and fronts; not rotated while marks exist
//
// HPKE (RFC 9180) with the hybrid KEM MLKEM768-X25519 costs 82 µs and over 1 KB an item. So a process makes one data key
// (AES-256-GCM) per audience and key period and wraps it with HPKE for that period's public half. It stores the wrapped key
// through KeyStore before it seals anything with it; otherwise a crash could make sealed jobs unreadable. A front has no
// private half. In memory it has the data keys of the current period.
//
// # A password pair's life
//
//	Maintain, a period ahead      period begins      period ends      + LongestWait
//	      announced ──────────────► sealing ─────────► opening ─────────► deleted
//
// Deleting the private half erases the passwords: copies of a sealed job stay in logs and backups, but nothing can open them.
// The next Maintain also drops cached data keys whose pair is gone and a sealer's data key whose period is over, whether or
// not they are used again.
//
// The PII pair is made once. Neither it nor its wrapped data keys (1.3 KB each, one per process start) are rotated or deleted
// automatically. To rotate it by hand, let the queue run empty and delete its files.
//
// Files are written whole, synced and never overwritten (pkg/keyfile). Every process uses the same names, so two workers that
// share keys_dir end up with one pair.
//
// # Envelope
//
//	0      1             17        25                       25+n         41+n
//	+------+-------------+---------+------------------------+------------+
//	| 0x01 | data key id | counter | ciphertext             | tag        |
//	| 1    | 16          | 8       | n                      | 16         |
//	+------+-------------+---------+------------------------+------------+
//
// The nonce is 4 zero bytes and the counter (big-endian, like all integers here), which starts at 1 for each data key and only
// grows. No nonce is used twice, whatever the clock does: a data key leaves its process only wrapped, a process seals only with
// data keys that it has made itself, and after 2³² messages it makes a new one. (A virtual machine that is resumed twice from
// one memory snapshot would repeat counters. Do not do that with a front.)
//
// Additional data: version and data key id as above, then
//
//	17       33          49          65     66               74
//	+--------+-----------+-----------+------+----------------+-----------------+
//	| job id | ticket id | account   | lane | accepted, µs   | expiry, Unix µs |
//	| 16     | 16        | 16, keyed | 1    | 8              | 8, 0 for none   |
//	+--------+-----------+-----------+------+----------------+-----------------+
//
// So an envelope does not open for another job, lane or account, nor with a later expiry, nor with another accept time (which
// could make an expired token valid again).
//
// A wrapped data key, as KeyStore stores it under the hexadecimal data key id:
//
//	0      1          2         10                 1130           1178
//	+------+----------+---------+------------------+--------------+
//	| 0x01 | audience | pair id | encapsulated key | wrapped key  |
//	| 1    | 1        | 8       | 1120             | 32 + 16      |
//	+------+----------+---------+------------------+--------------+
//
// HPKE base mode, HKDF-SHA256, AES-256-GCM; info is "surgegate data key v1\x00", the first 10 bytes and the data key id.
//
// # Ticket ids
//
// 71 base64url characters: 0x01, the first 12 bytes of Ref.ID, then, sealed with AES-256-GCM under a key derived from
// tickets.secret: the last 4 bytes of Ref.ID, lane, class, seq (8), locator (2), accept time (8); tag (16). The nonce is those
// first 12 bytes, so a replay gets the same string. That is safe as long as no two different Refs with the same ID are sealed.
// None are: an ID is 128 bits from crypto/rand, made for one ticket, which gets one place. Among 2³² tickets, more than an
// installation issues within the retention, two share these 96 bits with a probability of 2⁻³³.
//
// # Keyed hashes
//
// The first 128 bits of HMAC-SHA-256 under index.secret, over: one byte for the kind (1 identifier, 2 account id, 3 recipient,
// 4 token and request id), the length of the first part (4 bytes; 0 except for kind 4), the parts.
//
// # Failure rules
//
//   - There is no current public half, or KeyStore fails: nothing is sealed, so nothing is accepted (KindKeyUnknown,
//     KindNotDurable). Storing the data key is tried again with the same content; the key is not used before that succeeds.
//   - The clock goes back: a sealer keeps its data key until the end of that key's period. Deleted keys stay deleted, and a
//     period that comes again gets a new pair. The clock jumps ahead and comes back: private halves that were deleted meanwhile
//     are lost. Their jobs end as EXPIRED, and the people get a new link.
//   - Maintain fails, for example because the folder cannot be read: known pairs stay in use, but expired ones are dropped from
//     memory all the same.
//   - ErrTampered and ErrKeyGone are final. Other errors of Open may be temporary.
package seal

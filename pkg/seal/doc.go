// Package seal keeps what waits in the queue closed: passwords and personal data under keys that are erased at their
// time, ticket ids, and keyed hashes to find things by.
//
// # Keys
//
//	keys_dir/seal/password-START.key/.pub  HPKE pair of one key period (1 h); workers have both halves, fronts .pub
//	keys_dir/seal/pii-START.key/.pub       HPKE pair for identifiers, addresses and account ids
//	keys_dir/seal/tickets.secret           ticket ids; workers and fronts
//	keys_dir/seal/index.secret             keyed hashes; workers and fronts; never rotated while marks exist
//
// HPKE (RFC 9180) with the hybrid KEM MLKEM768-X25519 costs 82 µs and over 1 KB an item. So a process makes a data key
// (AES-256-GCM) per audience and key period, wraps it with HPKE to that period's public half, and stores it through
// KeyStore before it seals anything: at first use, or what it sealed could be lost with the process. A front holds
// no private half; in memory it holds the running period's data keys.
//
// # A password pair's life
//
//	Maintain, a period ahead      period begins      period ends      + LongestWait
//	      announced ──────────────► sealing ─────────► opening ─────────► deleted
//
// Deleting the private half at the period's end plus the longest wait is the erasure: a row that is deleted stays in
// logs and backups, but nothing opens it any more. A cached data key goes with its pair, a sealer's with its period,
// from memory too, at the next Maintain, whether or not anything is sealed or opened again. The PII pair is made once and
// kept until the last job under it has ended; in this version that means: it is not rotated by itself, nor are its
// wrapped data keys deleted (one per process start, 1.3 KB). To rotate it by hand, let the queue run empty and delete
// its files. Files are written whole, synced and never overwritten (pkg/keyfile); their names are the same in every
// process, so two workers that share keys_dir end up with one pair.
//
// # Envelope
//
//	0      1             17        25                       25+n         41+n
//	+------+-------------+---------+------------------------+------------+
//	| 0x01 | data key id | counter | ciphertext             | tag        |
//	| 1    | 16          | 8       | n                      | 16         |
//	+------+-------------+---------+------------------------+------------+
//
// Nonce: 4 zero bytes and the counter (big-endian, as all integers here), which starts at 1 for each data key and
// only grows. A data key never leaves its process but wrapped, and no process seals with an unwrapped one, so no nonce
// is used twice, whatever the clock does; after 2³² messages there is a new data key. (A virtual machine resumed twice
// from one memory snapshot would repeat counters. Do not do that to a front.)
//
// Additional data: version and data key id as above, then
//
//	17       33          49          65     66               74
//	+--------+-----------+-----------+------+----------------+-----------------+
//	| job id | ticket id | account   | lane | accepted, µs   | expiry, Unix µs |
//	| 16     | 16        | 16, keyed | 1    | 8              | 8, 0 for none   |
//	+--------+-----------+-----------+------+----------------+-----------------+
//
// so an envelope moved to another job, lane or account, given more time, or accepted at another time (which would
// bring an expired token back to life) does not open.
//
// Wrapped data key, as KeyStore holds it under the hexadecimal data key id:
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
// tickets.secret: the last 4 bytes of Ref.ID, lane, class, seq (8), locator (2), accept time (8); tag (16). The nonce
// is those first 12 bytes, so a replay gets the same string. That is safe as long as no two Refs with the same ID are
// sealed, and none are: the ID is 128 bits from crypto/rand made for one ticket, which gets one place. Two tickets
// share 96 random bits with probability 2⁻³³ among 2³² of them, more than one installation issues in its retention.
//
// # Keyed hashes
//
// HMAC-SHA-256 under index.secret, first 128 bits, over: one byte for what is hashed (1 identifier, 2 account id,
// 3 recipient, 4 token and request id), the length of the first part (4 bytes; 0 but for 4), the parts.
//
// # Failure rules
//
//   - No current public half, or KeyStore says no: nothing is sealed (KindKeyUnknown, KindNotDurable), nothing is
//     accepted. A key whose storing failed is tried again with the same content, never used before.
//   - The clock goes back: a sealer stays with the data key it has until that one's period is really over; what is
//     deleted stays deleted, and a period that comes again gets a new pair. The clock goes forward and comes back:
//     private halves deleted meanwhile are lost; their jobs end EXPIRED and their people get a new link.
//   - Maintain fails (folder unreadable): pairs known before stay in use, but those past their time are forgotten in
//     memory all the same.
//   - What cannot be opened is ErrTampered or ErrKeyGone, for good; any other error may pass.
package seal

// Package hashpool makes and verifies password hashes within two bounds: slots (processors) and a memory budget.
//
// Hashing limits a reset storm: argon2id at m=19456 t=2 p=1 takes about 21 ms of a core. Without a bound every waiting request holds its
// 19 MiB, the machine swaps, and all requests time out.
//
// # The way of a hash
//
//	caller ─► parameters checked ─► waiting ──slots──► memory ──► computing ─► done
//	               │                   │
//	               └ refused           └ ctx ended: refused, nothing computed
//
// Callers wait in order of arrival, in their own goroutines; the pool has none. Whoever bounds the number of callers bounds the queue:
// dispatch leases no more jobs than there are slots. A hash with parallelism p takes min(p, Slots) slots. Slots are always taken
// before memory, so two waiting callers never hold what the other needs. x/crypto/argon2 cannot be interrupted, so ctx counts only
// while a caller waits.
//
// # Failure rules
//
//   - New refuses parameters below OWASP's floors (Password Storage cheat sheet).
//   - Hashes from outside are checked against caps before anything is computed: argon2 with at most m 256 MiB and MemoryBytes, t 10,
//     p 16; bcrypt with at most cost 15. Above them the error is ErrTooCostly. A string that is not understood is ErrMalformed.
//     Neither ever is a match.
//   - bcrypt reads 72 bytes. Hash refuses longer passwords (KindWeakPassword, PASSWORD_TOO_LONG) instead of truncating them, and also a
//     NUL byte, at which other implementations stop reading. Verify takes any length, as the store's own sign-in does.
//
// # Formats
//
//	$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH     also argon2i; PHC string format, strict: this order, no other parameters, no
//	                                             leading zeros, unpadded base64 without stray bits
//	$2b$10$SALTHASH                              also 2a and 2y; 22 and 31 characters
//
// x/crypto/argon2 allocates its memory anew for each hash and cannot reuse it. Heap limits should therefore leave about twice the memory
// in use (BenchmarkHash).
package hashpool

// Package hashpool makes and verifies password hashes inside two bounds: slots (processor) and a memory budget.
//
// Hashing is the true bottleneck of a reset storm (argon2id at m=19456 t=2 p=1 costs about 21 ms of a core), and
// unbounded it is how others die: every waiting request holds its 19 MiB, the machine swaps, and all of them time out.
//
// # A hash's way
//
//	caller ─► parameters checked ─► waiting ──slots──► memory ──► computing ─► done
//	               │                   │
//	               └ refused           └ ctx ended: refused, nothing computed
//
// Callers wait in order of arrival, in their own goroutines: the pool has none. Who bounds the callers bounds the
// queue; dispatch leases no more jobs than there are slots. A hash with parallelism p takes min(p, Slots) slots. Slots
// first, then memory, always in this order, so two waiters never hold what the other needs. Once begun a hash cannot
// be interrupted (x/crypto/argon2 has no way), so ctx counts only while waiting.
//
// # Failure rules
//
//   - What is made has at least OWASP's floors (Password Storage cheat sheet), else New fails.
//   - Hashes from outside are capped before anything is computed: argon2 m 256 MiB and within MemoryBytes, t 10, p 16;
//     bcrypt cost 15. Above: ErrTooCostly. Not understood: ErrMalformed. Neither is ever a match.
//   - bcrypt takes 72 bytes. More is refused (KindWeakPassword, PASSWORD_TOO_LONG), never truncated; so is a NUL byte,
//     at which other implementations stop reading. Verifying takes any length, as the store's own sign-in would.
//
// # Parsed formats
//
//	$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH     also argon2i; PHC string format, strict: this order, no other
//	                                             parameters, no leading zeros, unpadded base64 without stray bits
//	$2b$10$SALTHASH                              also 2a and 2y; 22 and 31 characters
//
// golang.org/x/crypto/argon2 allocates its memory anew for each hash and cannot reuse it. Measured with one slot on a
// busy 2-core machine (BenchmarkHash): a garbage collection every second hash, 0.25 ms of pause and 67 MiB of heap,
// so heap limits should leave about twice the memory in use.
package hashpool

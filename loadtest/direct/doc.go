// Package direct is the naive front: the PasswordReset API served as most backends serve it, by calling the store inside the
// handler. It is the other arm of the comparison, made neither better nor worse than usual:
//
//   - every store call has a time-out of 10 s; an error goes to the caller as UNAVAILABLE or DEADLINE_EXCEEDED;
//   - no queue, no admission, no retries of its own, one gRPC connection with the library's defaults;
//   - StartReset looks the account up and mails a link with a signed token (HMAC-SHA-256 over account and expiry);
//   - CompleteReset writes the password, then ends the sessions, each with one store call of one item;
//   - a change is new with every call, as an UPDATE is: a call that timed out may well have been applied, and a repeat
//     applies it again.
//
// A ticket is DONE when it is returned; nothing remembers it.
package direct

// Package target keeps a storm from hitting what it was not meant for. A load test against a stranger's address is an
// attack, and a typing error is enough for one.
//
// Every address that a target's name stands for is looked at. Loopback, private (RFC 1918, RFC 4193) and link-local
// addresses are somebody's own; anything else is asked about once, on a terminal, by typing the host's name. In a pipe
// there is nobody to ask: it is refused unless --yes was given. A name that cannot be resolved is an error before the
// first call.
package target

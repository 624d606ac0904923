// Package policy judges new passwords by NIST SP 800-63B-4 and OWASP's ASVS 5.0, and adds no rules of its own.
//
// # Checks, in this order
//
//	valid UTF-8 ─► NFC ─► bytes (bcrypt stores) ─► characters ─► blocklist ─► breached
//	  INVALID             PASSWORD_TOO_LONG        …_SHORT/_LONG  …_COMMON      …_BREACHED
//
// A character is a Unicode code point after NFC. There are no composition rules, and nothing is truncated or trimmed. Every character
// is allowed, except NUL where the store is limited in bytes, because bcrypt implementations stop reading at it.
//
// # Blocklist
//
// The list has the 30,000 passwords of zxcvbn (blocklist/NOTICE), which are embedded, and the entries of the site's own file, one a
// line ("#" begins a comment): the names of the company and its products, which an attacker would guess first. Case is ignored. The
// shortest password allowed has 15 characters, so most entries alone would never match. Therefore a password that only repeats an
// entry ("passwordpassword") counts as listed, and so does one that only repeats one or two characters ("abababababababab").
// There is no strength estimate: it would refuse good passwords for reasons that nobody can explain. The breached list has what
// attackers really use.
//
// # Breached list
//
// The site can name a file in the format of haveibeenpwned.com's download: lines "SHA1HEX:COUNT", sorted by hash. It is searched on
// disk with at most about two dozen reads of 130 bytes, and never loaded. No network call is made.
//
// # Failure rules
//
// If the breached file cannot be read during a check, the error is KindInternal: a password is never accepted unchecked. New refuses a
// file that is not sorted at the places where it looks (first, middle and last line).
package policy

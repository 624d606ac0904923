// Package policy says which new passwords are good enough: NIST SP 800-63B-4 and OWASP's ASVS 5.0, with nothing added.
//
// # Checks, in this order
//
//	valid UTF-8 ─► NFC ─► bytes (bcrypt stores) ─► characters ─► blocklist ─► breached
//	  INVALID             PASSWORD_TOO_LONG        …_SHORT/_LONG  …_COMMON      …_BREACHED
//
// A character is a Unicode code point after NFC. There are no composition rules, nothing is truncated or trimmed, and
// every character is allowed, but for NUL where the store is limited in bytes: bcrypt implementations stop reading at
// it.
//
// # Blocklist
//
// Always: the 30,000 passwords of zxcvbn (blocklist/NOTICE), embedded; and the site's own file, one a line ("#" begins
// a comment), with what an attacker would guess first here: the company's and the product's names. Compared without
// regard to case. Since the shortest password allowed has 15 characters, most entries alone would never match, so a
// password that only repeats a listed one ("passwordpassword") counts as listed, and so does one that only repeats one
// or two characters ("abababababababab"). Nothing cleverer: a strength estimate refuses good passwords for reasons
// that nobody can explain, and what is really in use by attackers is in the breached list.
//
// # Breached list
//
// Optional: a file in the format of haveibeenpwned.com's download, lines of "SHA1HEX:COUNT" sorted by hash. It is
// searched where it lies, by two dozen reads or fewer of 130 bytes, never loaded. No network call is made, ever.
//
// # Failure rules
//
// A breached file that cannot be read at the moment of a check is an error of KindInternal: a password is never
// accepted unchecked. New refuses a file that is not sorted where it looks (first, middle, last line).
package policy

// Package smtptest is an SMTP server on loopback for tests: real sockets, real TLS, and whatever trouble a test wants of
// it. It refuses with any reply to any command, hangs, drops connections anywhere, greets late, goes down and comes back
// on the same address, and takes a mail without saying so.
package smtptest

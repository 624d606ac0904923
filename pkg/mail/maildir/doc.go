// Package maildir is a mail provider that writes each message into a maildir: for trying surgegate out, for tests, and
// for sites whose own program hands mail off.
//
// # One message
//
//	build ─► tmp/NAME ─► fsync ─► rename to new/NAME ─► fsync of new/
//
// So a reader never sees half a message, and a message that Send has answered survives a power cut. NAME is made of the
// message's ID: a message that is delivered again overwrites itself, unless a mail program has moved it to cur/ since.
//
// # Files
//
// They hold live reset links: folders are made with mode 0700, files with 0600, and the path is nothing to share.
// What a killed process left in tmp/ is removed by New once it is 36 hours old.
//
// # Errors
//
// An address that is none wraps mail.ErrRefused. All that the file system says wraps mail.ErrOverloaded, also that the
// folder is gone, forbidden or read-only: it is true of every message, so that it must not use up the tries of each.
// Mails wait until the operator has mended it; the folder is not made anew, it may be a file system that is not mounted.
package maildir

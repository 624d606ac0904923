// Package mailbox is the mail system of a storm: a maildir or an SMTP server that gateways deliver to, and what reads the
// links out of the mails.
//
// A delivery is written under tmp/ and renamed into new/, as maildir says. The Watcher looks at new/ every 100 ms, moves
// what it has read to cur/, and delivers each link's token. One look costs one directory
// read for everybody; a mail costs about 60 µs to read and take apart. Mails without a link (confirmations) are counted
// and otherwise left alone. A link's token is what follows "#token=" in the mail's text, whatever its transfer encoding.//
// The Sink is for gateways elsewhere: they are pointed at it as their SMTP server. It keeps nothing, and can be told to
// refuse with 451, as a provider does that throttles, or to hang.
package mailbox

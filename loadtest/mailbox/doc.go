// Package mailbox is the mail system of a storm: a maildir that gateways deliver to and that simulated people read.
//
// A delivery is written under tmp/ and renamed into new/, as maildir says. The Watcher looks at new/ every 100 ms, moves
// what it has read to cur/, and hands each mail's token to the person it is addressed to. One look costs one directory
// read for everybody; a mail costs about 60 µs to read and take apart. Mails without a link (confirmations) are counted
// and otherwise left alone. A link's token is what follows "#token=" in the mail's text, whatever its transfer encoding.
package mailbox

// Package smtp hands mail off to an SMTP server over a bounded pool of reused connections.
//
// # A connection
//
//	        dial, EHLO, TLS, AUTH               MAIL, RCPT, DATA, 250
//	closed ───────────────────────► open, in use ─────────────────► open, idle
//	   ▲                                │  ▲                            │  │
//	   │   any error but a clean answer │  └────────────────────────────┘  │ idle for too long, Close
//	   └────────────────────────────────┴──────────────────────────────────┘
//
// At most Connections are open. A reused connection that turns out to be gone before the message was begun (the server
// had closed it while it was idle) is dialled again once; that is no failure of the provider. There is no NOOP before
// and no RSET after each message: two round trips that say nothing that the next command would not.
//
// # What an answer means
//
//	45x with 4.1.x or 4.2.x (address, mailbox full or    ErrDeferred: about this recipient, and the provider works
//	busy) to RCPT TO or the content; 450 without such a
//	code to RCPT TO
//	any other 4xx; no answer, dropped, timed out         ErrOverloaded
//	no session to be had: dial, TLS, AUTH                ErrOverloaded; the mails are fine, an operator has to mend it
//	5xx to MAIL FROM; 5.1.7 or 5.1.8 anywhere            ErrOverloaded; it is about the sender: the same for every mail
//	502, 503, 530, 534, 535, 538 anywhere                ErrOverloaded; about the session
//	5.7.x to RCPT TO or the content                      neither: a policy (relaying, block lists, spam) that may be
//	                                                     about every mail; the try counts, unless no mail goes out at all
//	5.1.1, 5.1.2, 5.1.3, 5.1.6, 5.1.10, 5.2.x            ErrRefused; about this mailbox
//	any other 5xx to RCPT TO or the content              ErrRefused; about this mailbox, unless no mail goes out at all
//	250 to the content                                   handed off, even if the context has ended meanwhile
//
// A lost answer to the content is ErrOverloaded and the mail is sent again, with the same Message-ID.
//
// Errors hold the stage and the codes, and print no text of the server's once a message has been spoken of: it quotes the
// address. Each is a failure.Error: its scope is the recipient, the provider, or unclear, and whether an unclear one is an
// outage is found by the work side, which sees the other mails.
//
// # TLS
//
// A reset link is a credential. So STARTTLS is mandatory unless configured otherwise, and what can be stripped by
// somebody in between ("opportunistic", "none") is only taken for loopback or with Insecure. The password is never
// sent without TLS, but to loopback. The password file is read at each dial, so that it can be rotated.
package smtp

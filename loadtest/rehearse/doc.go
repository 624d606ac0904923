// Package rehearse is `storm run`: one storm, open loop, at a system that is already there, with a report of what became
// of the people.
//
//	scenario or trace ─► speed, thin, amplify ─► crowd ─► connections ─► the system
//	                                               ▲
//	                         maildir or own SMTP sink (the system's mails; optional)
//
// Nothing but the address is needed. Without mails nobody can follow a link: the run then tests how links are promised, and
// says so. With a maildir that the system delivers to, or with the system's mailer pointed at SMTP, people go all the way.
// With the address of a `storm victim`'s control, the report knows the store's state, and faults can be done to it.
//
// # Time and people
//
//	Speed      compresses the arrivals' times alone: buckets, TTLs, backoffs and people's patience do not scale, so a run
//	           at another speed than 1 is another storm; it is warned about and said in the report
//	Thin       samples whole people, with all that they do
//	Amplify    clones them: clones come at the same moment and have draws of their own
//	Identifier names people: %d is the person's number, less than Accounts (people share accounts when there are fewer)
//
// # How it ends
//
//	everybody has ended, Limit is over, or the context ends (Ctrl-C): the report is of what was
//	ErrInvalid     the generator was late: the run says nothing about the system
//	ErrThreshold   a threshold is broken
//	any other      a fault of the tool or of its arguments; nothing is reported
package rehearse

// Package mail is the port to the mail provider, and the texts of surgegate's two mails.
//
// # Contract
//
// Send hands one message off; nil means that the provider has taken responsibility for it. ErrOverloaded (a 4xx
// answer, a connection refused, dropped or timed out, no session to be had) means later, and uses up no try;
// ErrDeferred (a 4xx answer about this recipient: his mailbox is full or busy) means later for this message, which uses up
// one of its tries, and says that the provider works; ErrRefused (a 5xx answer about this recipient or message) means
// never for this message. Any other error is a fault
// that an operator has to look at. Errors should be a *failure.Error as well: its code is told to operators, and its scope
// tells a refusal of one mailbox from one that may be of us. A message whose hand-off answer got lost is sent again: mail is at least once.
// Errors hold codes, never the provider's own words: those quote the address.
//
// Mail goes to the stored address, never to the submitted one, and links use the configured base URL only.
//
// # Texts
//
// The two mails must not be mistaken for phishing, nor teach people to fall for it:
//
//	link          the site's name; that somebody asked for a new password; one link, its whole address visible, with no
//	              text in front of another target; how long it works; what to do if it was not you (nothing). No urgency.
//	confirmation  the site's name; that the password was changed, and when; what to do if it was not you: open the site
//	              as always and reset again. No link at all: a mail that says "your password was changed, click here" is
//	              what phishing looks like.
//
// The link is {base_url}/complete#token=TOKEN: a fragment never reaches a server, a proxy log or a Referer, and a
// scanner that fetches the link sends no token.
//
// Texts are chosen by the account's locale; where there is none in its language they are English, and Message.Locale
// says which they are. Every text has a plain and an HTML form with the same words.
//
// # Header injection
//
// Templates refuses nothing: an address is data that a store answers with, and what is wrong with it is found by
// Message.Validate, which every adapter calls first: an address or subject with a control character, more than one
// address, or a display name is ErrRefused.
package mail

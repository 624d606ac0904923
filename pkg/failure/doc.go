// Package failure is how the adapters of stores and mail providers tell the work side why a call failed.
//
// An adapter wraps each failure in an *Error. Scope says what the failure is about, Class what helps, and Code which
// failure it was. The sentinels of the ports (credstore.ErrOverloaded, mail.ErrRefused, ...) stay in the chain, so an
// adapter that does not know this package still works; its failures have no code then.
//
//	scope        who is at fault                          what the work side does
//	Downstream   the downstream, or its configuration     uses no try, probes until a call succeeds
//	Item         one item: this mailbox, this account     ends or retries that item alone
//	Call         unclear: the whole call failed           bisects, accuses the job that fails alone, and takes it for an
//	                                                      outage when nothing but failures is seen (pkg/dispatch/internal/downstream)
//
// # Codes
//
// A code is short, in upper case, and made of what the protocol defines: a gRPC code (UNKNOWN), an SQLSTATE
// (SQLSTATE 53300), a result code of SQLite (SQLITE_BUSY), an SMTP reply with its enhanced code (SMTP 451 4.7.1), an errno
// (ECONNREFUSED), or one of the constants below. Clean replaces anything else by Other, because codes are logged, and a
// server could write a person's data where its code belongs.
//
// # Text
//
// Text is what the downstream said. It may quote people's data, so an Error never prints it. It reaches the log only
// where log.downstream_text is set.
package failure

// Package gate is the request side: it accepts resets durably, answers with tickets, and tells where each ticket
// stands. It meets the work side only at the queue.
//
// # Order of checks
//
//	StartReset     fields ─► draining ─► known NOT_DURABLE ─► admission ─► time bound ─► seal ─► enqueue ─► ticket
//	CheckToken     fields ─► admission ─► signature, purpose, expiry ─► mark
//	CompleteReset  fields ─► draining ─► known NOT_DURABLE ─► admission ─► signature, purpose ─► mark, expiry (or replay)
//	               ─► policy ─► store described ─► time bound ─► seal ─► enqueue with the mark ─► ticket
//	GetTicket, WatchTicket                          ticket id ─► status
//
// Fields are judged here and nowhere else (fields.go). All bad fields of a call are named at once, and such a call spends nothing.
//
// The front never looks an account up: what a StartReset costs and answers follows from the client, from global state
// and from what was submitted. An identifier is trimmed and brought to NFC, its case is left alone: what equals what is
// the store's to say. Control characters are refused: no identifier has any, and a NUL is poison to a SQL store.
//
// # What is paid for a refusal
//
// A permit is given back for NOT_DURABLE, QUEUE_FULL, DRAINING and KEY_UNKNOWN, and for nothing else. A token or a
// password that is refused is charged to the client's buckets; when those are empty the answer is LIMIT_CLIENT and
// says nothing of the token.
//
// # What cannot be finished is not accepted
//
// A start is refused when the high end of its line's ETA is over Config.MaxStartWait, a completion when it is over
// half of Config.MaxSealedWait. Both ETAs use the pace last measured while the downstream worked, or the floor
// that the work side publishes before any, plus the outage so far: a store that has just gone dark closes nothing.
// A completion whose store has never described itself is refused, because its lane is not known.
//
// # Replay
//
// A completion whose answer was lost is repeated with its token and request id, and gets the ticket of the first call.
// A replay is no new work, so it needs neither a good password, nor room in the queue, nor a token that has not
// expired meanwhile: it is found by the mark, which the first call raised. An expired token is good for nothing else:
// while the account's mark is absent or has not moved past the token's it is TOKEN_EXPIRED. Should the mark be dropped
// between that look and the enqueue, the replay gets into the queue as a new completion, one without a password: it is
// sealed with an expiry that has passed, so it ends EXPIRED there, and the person is mailed a new link. A later
// completion of the same account takes over the mark and with it the replay: then the answer is TOKEN_USED. Draining and
// NOT_DURABLE refuse replays too, since the queue may be closing; the caller has a time to come back.
//
// # Tickets
//
// A ticket's id is its sealed place in line, so no answer needs an index. A StartReset ticket is ACCEPTED until
// Status.DoneTime and DONE from then on, to the moment: a timer stands on it, and nothing is read between the timer and
// the answer, so hits, misses and coalesced asks live equally long. Should the machine's clock be set back meanwhile,
// the queue's, which never goes back, is believed as well.
//
// The position at acceptance comes with the queue's verdict; a ticket is read back only where that has none, or to wait.
//
// Wait holds an answer until its ticket is final, at most 30 s, and at most until 50 ms before the caller's deadline.
// From brownout level 1 on answers carry their ticket at once. Once a reset is accepted nothing turns its answer into
// an error.
//
// WatchTicket sends the ticket at once, at every change of state, when its position has halved, and otherwise every
// 10 s if its position has changed: a person sees movement, and a million watchers cost no second storm.
// Between these it looks every tenth of the ETA, 1 s to 10 s. It ends after a final state, with ctx, or with DRAINING
// when the gate is closed.
//
// # ETA
//
//	start       drain(start, ahead) + [service + drain(mail, crowd) + service], the bracket up to a multiple of
//	            250 ms and at most 1 h, as dispatch fixes DoneTime; the crowd is the mails waited for, none of which
//	            (nor an outage) counts below queue.CrowdMin, where single accounts would show;
//	            once the lane has passed the place: DoneTime − now, exactly
//	completion  drain(slower of hash and apply, ahead) + service of the lanes still to pass
//	running, or between tries: the longer of the service time and the time that it has lasted so far
//	drain(lane, n) = outage so far + n / rate
//
// The interval is told as the point estimate ÷ 1.4 and × 1.4, so high ÷ low is 1.96: errors of a rate are
// multiplicative.
//
// # Why, and in which trace
//
// A refusal that the gateway's state brought about (shed, limited, QUEUE_FULL, NOT_DURABLE, store or key unknown) can be logged
// with the numbers that it was decided on (Deps.Decisions, pkg/decision); what a person did wrong is not. Where a call's
// trace is kept, making its job durable is a span of it, the job carries it into the queue, and the call's time has it as its
// exemplar (Deps.Tracer, pkg/tracing). Without both the accept path allocates what it did before there were any.
//
// # Lifecycle
//
// Start reads the published paces, the store's description and the queue's counts, and a goroutine reads them again
// every 500 ms. Drain refuses new work; tickets and tokens can still be read. Close ends waits (with the ticket as it
// stands) and watches, and stops the goroutine. When the queue cannot be read the last view stays in use.
package gate

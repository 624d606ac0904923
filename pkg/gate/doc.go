// Package gate is the request side: it accepts resets durably, answers with tickets, and says where each ticket stands. It meets the
// work side only at the queue. It never looks an account up: what a StartReset costs and answers follows from the client, from global
// state and from what was submitted.
//
// # Order of checks
//
//	StartReset     fields ─► draining ─► known NOT_DURABLE ─► admission ─► time bound ─► seal ─► enqueue ─► ticket
//	CheckToken     fields ─► admission ─► signature, purpose, expiry ─► mark
//	CompleteReset  fields ─► draining ─► known NOT_DURABLE ─► admission ─► signature, purpose ─► mark, expiry (or replay)
//	               ─► policy ─► store described ─► time bound ─► seal ─► enqueue with the mark ─► ticket
//	GetTicket, WatchTicket                          ticket id ─► status
//
// Fields are judged in fields.go and nowhere else. All bad fields of a call are named at once, and such a call spends nothing.
//
// # What a refusal costs
//
// A permit is given back for NOT_DURABLE, QUEUE_FULL, DRAINING and KEY_UNKNOWN, and for nothing else. A token or a password that is
// refused is charged to the client's buckets. When those are empty the answer is LIMIT_CLIENT and says nothing about the token.
//
// # What cannot be finished is not accepted
//
// A start is refused when the high end of its ETA is over Config.MaxStartWait, a completion when it is half of Config.MaxSealedWait or
// more. Both ETAs use the pace that was last measured while the downstream worked (before any, the floor that the work side
// publishes) plus the outage so far, so a store that has just failed closes nothing. A completion is also refused while the store has
// never described itself, because its lane is not known.
//
// # Replay
//
// A caller who lost the answer of a completion repeats it with the same token and request id, and gets the ticket of the first call. The
// replay is found by the mark, which the first call raised. It is no new work, so it needs neither a good password, nor room in the
// queue, nor a token that has not expired meanwhile. An expired token is good for nothing else. After a later completion of the
// same account, which raises the mark again, the answer is TOKEN_USED. Draining and NOT_DURABLE refuse replays too, since the
// queue may be closing.
//
// # Tickets
//
// A ticket's id is its sealed place in line, so no answer needs an index. A start ticket is ACCEPTED until Status.DoneTime and DONE from
// then on, to the moment: a timer stands on it, and nothing is read between the timer and the answer. So the tickets of known
// and unknown identifiers and of joined starts live equally long. If the machine's clock is set back meanwhile, the queue's
// clock counts too, which never goes back.
//
// Wait holds an answer until its ticket is final, at most 30 s, and at most until 50 ms before the caller's deadline. From brownout level 1
// on it is ignored. Once a reset is accepted nothing turns its answer into an error.
//
// # ETA
//
//	start       drain(start, ahead) + [service + drain(mail, crowd) + service], the bracket rounded up to a multiple of 250 ms and
//	            at most 1 h, as dispatch fixes DoneTime. crowd is the mails that wait; none of them and no outage counts below
//	            queue.CrowdMin, where single accounts would show.
//	            Once the lane has passed the place: DoneTime − now, exactly.
//	completion  drain(slower of hash and apply, ahead) + service of the lanes still to pass
//	running, or between tries: the longer of the service time and the time that it has lasted so far
//	drain(lane, n) = outage so far + n / rate
//
// The interval is the point estimate ÷ 1.4 and × 1.4: errors of a rate are multiplicative.
//
// # Lifecycle
//
// Start reads the published paces, the store's description and the queue's counts. A goroutine reads them again every 500 ms; while the
// queue cannot be read, the last view stays in use. Drain refuses new work; tickets and tokens can still be read. Close ends waits
// (with the ticket as it stands) and watches, and stops the goroutine.
package gate

// Package dispatch is the work side: it takes jobs from the queue's lanes and works them against the downstreams at
// the pace that their controllers allow.
//
// # A runner, one a lane
//
//	        ┌──────────────────────────── batch given to a goroutine of its own ◄───────────────────┐
//	        ▼                                                                                        │
//	Queue.Wait ──► (mail: budget) ──► permit (share, pacer, breaker) ──► Lease (sized by the backlog) ──► call ─┴─► Finish | Retry | Park
//	   ▲                │                     │ waits for its turn, the end of a call, or RetryAt
//	   └── level, description or budget changed ┘
//
// A permit comes before the lease, so that no lease runs out while it waits for its turn, and nothing polls: a job is
// leased the moment that it is committed.
//
// A lane asks for a permit for as many jobs as wait, spread over the calls that are free; the pacer says how many of them one
// call may carry (Verdict.Items), and no more are leased. So a backlog travels in batches as large as the pacer finds
// worth while, a few jobs at once take a call each while calls are free, and one job is never announced as two.
//
// # Who goes first
//
// start, the look-ups of hash, apply, and revoke where the revoker is the store share the store's pacer and breaker.
// Permits of one downstream are handed out by weighted fair sharing of cost (pkg/fair, internal/downstream): apply 32, hash
// 16, start 8, mail 4, revoke 2, campaign 1 (Config.Weights says why). No lane starves another, a lane alone has all, and one that
// was idle is served at once. The further calls of a bisected batch wait in their lane's line like any other. Inside a lane
// the queue's classes decide: suspects behind people, what is deferrable behind both.
//
// The hash pool has a pacer and no breaker. The revoker has a breaker of its own in any case, and a pacer of its own only
// where it is a thing of its own (Pacers.Revoker): one controller a real downstream. Where it is the store, a broken
// RevokeSessions stops revocations and nothing else (internal/downstream).
//
// Interactive and bulk mail have separate budgets (internal/mailbudget): bulk mail is what is deferrable, keeps to its own
// rate and its share of the calls, and so never keeps a link waiting for longer than one call.
//
// # What ends how
//
//	call                                   job                                        pacer      breaker
//	answered                               as its own result says                     ok         success
//	overload, time-out                     Retry, no try used, back-off with jitter   overload   failure
//	configuration; nothing succeeds        Retry, no try used, other jobs first       error      failure
//	other error, several items             bisected until the poisonous one is alone  error      success (it answered)
//	other error or panic, one item         Retry, one try used; out of tries: Park    error      success
//	mail deferred (mailbox full, busy)     Retry, one try used; out of tries: refused ok         success
//	mail refused, none has gone out since  Retry, one try used; out of tries: refused error      success
//	ended by us (drain)                    Retry at once, no try used                 canceled   ignored
//
// When nothing succeeds, that is an outage, whatever the code: internal/downstream has the rule. Errors of single items (no
// such account, a password refused, one recipient) are answers and stay those items'.
//
// A mail that its recipient's mailbox cannot take now, or that was refused while no other goes out, is tried again after
// minutes, not seconds, and ends as one that was refused, because nothing that an operator could do would mend it. Mail is sent at least once: a mail is sent again, with
// the same Message-ID, if the process died, or the answer got lost, between the provider's taking it and the Finish.
//
// A bisected batch makes at most 4·log2(n)+4 calls, each under a permit of its own; what is left is retried without
// a try used. A call that ended before its deadline by a time-out or by us keeps its permit until the deadline,
// because the downstream may still be working at it.
//
// # Steered while it works
//
// An operator changes what decides, never a job in hand:
//
//	PauseLane            nothing more is leased once it has returned; what was leased goes on. The lane still accepts, and sealed
//	                     passwords still expire (the sweep does not ask for a pause)
//	SetLaneWeight        another share of a downstream, for what waits already
//	SetPace              pace.Steered: bounds, or a constant pace; calls and tokens are handed over
//	ForceBreaker         breaker.Force: nothing is sent, or nothing trips; closing has the pacer resume
//	SetIdentifierBudget  for the next look-up; what was mailed counts on
//
// Each has what is configured under it, which is in force again when it is lifted. Reconfigure and ReconfigurePacers change what
// is configured, under overrides that stand: weights, mail budgets, those of identifier, account and recipient, and paces, whole
// or not at all; anything else needs a restart (ErrNotHot).
//
// The process itself says with SetStarved that it is short of processor time (pkg/starvation): the time of a call is then partly
// its own delay, and no pacer raises its limits on it.
//
// A pause is published like an outage: waits that are told grow by its length so far, at the pace last measured, and what could
// not be finished in time is no longer accepted. Jobs of a paused lane age like any others, so the oldest wait grows, and
// with it the brownout level: that is true, people do wait. Who pauses a lane for long should expect it, and say so to who
// is on duty next; surgegate_lane_paused tells the two apart.
//
// # Failure rules
//
//   - A payload that was tampered with, a spent token that does not verify, or an empty password parks its job: the
//     store is never touched (fail closed).
//   - A password is never sent in a form that the store has ceased to take: a plaintext one goes back to the hash lane, a
//     hashed one is parked.
//   - A sealed password whose key is gone, or whose time is over, ends FAILED EXPIRED; where it can still be read a
//     replacement link is asked for. Sweeps find those that no lane would reach in time.
//   - ErrLeaseLost drops what was done: somebody newer has the job, or superseded it.
//   - ErrConflict on a Finish (two starts of one account raced for its budget) is decided again on fresh records.
//   - The text of a downstream's error may quote people's data, so it is never kept as the cause of a parked job, and logged
//     only with Config.LogDownstreamText. Its class and code are logged, at most once a minute each.
//   - A store that describes itself in a way that cannot be met rests its lanes, and says so each minute (internal/book).
//
// # Traces, and why it waits
//
// A batch that works for a job with a trace has a span, linked to that job's call (pkg/tracing); follow-ups carry the trace on,
// but for the mail of an ask: that there is one tells that there is an account.
// Its calls to downstreams, bisected ones included, are spans in it. Where decisions are logged (pkg/decision), a lane that
// waited 10 ms or longer for its turn, or for its budget of mails, tells once a second what it waited for and how that fares.
//
// # Who is mailed
//
// Link mails are counted by identifier, account and recipient. One that is over a budget is withheld only while an
// earlier link is still good: of that account, or, where the recipient's budget is used up, of any account mailed to that
// recipient. There a link counts from the moment that its mail is in line, so that accounts of one address cannot be
// asked for one by one while mails wait. One ask is followed by 10 mails at most.
//
// # Start tickets
//
// DoneAfter is computed before the lease from what the lanes published last (a high percentile of the look-up and of
// the hand-off, each rounded up to 250 ms, the mail lane's backlog over its rate, outages so far), rounded up to 250 ms;
// never from a job in hand.
//
// Only accounts have mails, so what a few of them do must not show: while people wait for fewer than queue.CrowdMin
// mails, neither their number nor an outage of the mail server is published, and above it the number is rounded up to a
// power of two. For the same reason the start and the mail lane take a measurement over only from a crowd or from so
// many ended jobs. A site that mails little thus tells of a dead mail server to its operator alone.
package dispatch

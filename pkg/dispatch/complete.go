package dispatch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/dispatch/internal/downstream"
	"github.com/surgegate/surgegate/pkg/failure"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/seal"
)

// completion is one hash or apply job in hand.
type completion struct {
	lease   queue.Lease
	payload reset.CompletionPayload
}

// admit opens a completion and verifies its spent token again; what must not go on is settled, and false then.
func (d *Dispatch) admit(ctx context.Context, s *settlement, l queue.Lease) (completion, bool) {
	c := completion{lease: l}
	if !d.open(ctx, s, l, &c.payload) {
		return c, false
	}
	if !l.Job.ExpireTime.IsZero() && !d.clock.Now().Before(l.Job.ExpireTime) {
		s.end(d.expired(l, d.replacement(ctx, c)))
		return c, false
	}
	err := downstream.Guard(func() error { return d.verify(l.Job, c.payload) })
	switch {
	case err == nil && c.payload.Password == "": // the front accepts none; should it, no account is left open to all
		s.park(l, "the password is empty")
	case err == nil:
		return c, true
	case errors.Is(err, downstream.ErrPanic):
		s.fail(l, "panic while verifying the token")
	case reset.KindOf(err) == reset.KindKeyUnknown:
		s.at(l, d.clock.Now().Add(backoff(d.cfg.TryDelay, d.cfg.MaxDelay, 10))) // a key on its way here
	default:
		d.log.ErrorContext(ctx, "a queued completion's token does not verify", "job", l.Job.ID.String(), "kind", reset.KindOf(err))
		s.park(l, "the spent token does not verify")
	}
	return c, false
}

var errToken = errors.New("dispatch: the token is not this job's")

// verify checks the spent token against the sealed accept time, never against now, and that it is this job's.
func (d *Dispatch) verify(j reset.Job, p reset.CompletionPayload) error {
	claims, err := d.deps.Verifier.Verify(p.Token, j.AcceptTime)
	if err != nil {
		return err
	}
	// The mark was raised over the token's when the completion was accepted.
	if claims.AccountID != p.AccountID || d.deps.Index.Account(p.AccountID) != j.Account || j.Sequence <= claims.Mark {
		return &reset.Error{Kind: reset.KindTokenInvalid, Cause: errToken}
	}
	return nil
}

// hashNeeds: a store that shares current hashes is asked for the account before the password is hashed.
func (d *Dispatch) hashNeeds() []need {
	if d.book.AsksCurrent() {
		return []need{{d.hashPool, downstream.KindMain}, {d.store, downstream.KindLookup}}
	}
	return []need{{d.hashPool, downstream.KindMain}}
}

// workHash replaces a password by its hash. The batch is one job: each takes a slot of the pool of its own.
func (d *Dispatch) workHash(ctx context.Context, b *batch) {
	s := d.settle(b)
	defer s.commit(ctx)
	c, ok := d.admit(ctx, s, b.leases[0])
	if !ok {
		return
	}
	var current string
	if len(b.permits) > 1 {
		if current, ok = d.current(ctx, s, b, c); !ok {
			return
		}
	}
	desc := d.book.Get()
	if desc.Form == credstore.FormPlaintext { // it was a hash-taking store when this was accepted
		d.toApply(ctx, s, c, c.payload.Password, false)
		return
	}
	scheme, ok := d.scheme(desc)
	if !ok {
		s.again(c.lease) // Describe refuses such an answer, so this is a race with the next one
		return
	}
	h := hashing{hasher: d.deps.Hasher, scheme: scheme, current: current, password: []byte(c.payload.Password)}
	defer clear(h.password)
	fates := d.bisect(ctx, b.take(0), b.lane, b.leases, func(ctx context.Context, _, _ int) error { return h.run(ctx) })
	switch {
	case fates[0] == fateAgain:
		s.again(c.lease)
	case fates[0] == fateFailed:
		s.fail(c.lease, "hashing failed")
	case h.reused:
		d.refuse(ctx, s, c, reset.ReasonPasswordReused)
	case h.refused:
		d.refuse(ctx, s, c, reset.ReasonPasswordRefused)
	case h.phc == "": // nothing but a hash may go on from here
		s.fail(c.lease, "the hash is empty")
	default:
		d.toApply(ctx, s, c, h.phc, true)
	}
}

// hashing is one password on its way through the pool.
type hashing struct {
	hasher          Hasher
	scheme, current string
	password        []byte

	phc             string
	reused, refused bool
}

func (h *hashing) run(ctx context.Context) error {
	if h.current != "" {
		match, err := h.hasher.Verify(ctx, h.current, h.password)
		if err != nil && ctx.Err() != nil {
			return err
		}
		// A current hash that cannot be computed within the caps cannot be compared: the new password is taken.
		if h.reused = err == nil && match; h.reused {
			return nil
		}
	}
	phc, err := h.hasher.Hash(ctx, h.scheme, h.password)
	switch reset.KindOf(err) {
	case reset.KindWeakPassword, reset.KindInvalid: // the scheme cannot take it; it changed since this was accepted
		h.refused = err != nil
		return nil
	default:
		h.phc = phc
		return err
	}
}

// current fetches the account's current hash; false when the job is settled.
func (d *Dispatch) current(ctx context.Context, s *settlement, b *batch, c completion) (string, bool) {
	asks := []ask{{lease: c.lease, payload: reset.StartPayload{AccountID: c.payload.AccountID}}}
	fates := d.bisect(ctx, b.take(1), b.lane, b.leases, func(ctx context.Context, _, _ int) error {
		return d.lookup(ctx, asks)
	})
	switch {
	case fates[0] == fateAgain:
		s.need = need{d.store, downstream.KindLookup}
		s.again(c.lease)
	case fates[0] == fateFailed:
		s.fail(c.lease, "the store failed to look it up")
	case len(asks[0].accounts) == 0:
		s.end(ending{Finish: queue.Finish{Lease: c.lease, State: reset.StateRejected, Reason: reset.ReasonAccountGone}})
	default:
		return asks[0].accounts[0].CurrentHash.Reveal(), true
	}
	return "", false
}

// toApply hands the completion on to the apply lane: the ticket lives on in the follow-up.
func (d *Dispatch) toApply(ctx context.Context, s *settlement, c completion, password string, hashed bool) {
	p := c.payload
	p.Password, p.Hashed = password, hashed
	d.handOn(ctx, s, c, reset.LaneApply, p)
}

func (d *Dispatch) handOn(
	ctx context.Context, s *settlement, c completion, to reset.Lane, p reset.CompletionPayload,
) {
	from := c.lease.Job
	j, err := d.follow(ctx, seal.AudiencePassword, reset.Job{
		Ticket: from.Ticket, Lane: to, Class: from.Class, Key: from.Key, Account: from.Account,
		Sequence: from.Sequence, AcceptTime: from.AcceptTime, ExpireTime: from.ExpireTime, Trace: from.Trace,
	}, p.Marshal())
	if err != nil {
		s.again(c.lease)
		return
	}
	s.end(ending{Finish: queue.Finish{Lease: c.lease, FollowUps: []reset.Job{j}}})
}

// workApply writes a batch of passwords of distinct accounts.
func (d *Dispatch) workApply(ctx context.Context, b *batch) {
	s := d.settle(b)
	defer s.commit(ctx)
	desc := d.book.Get()
	accounts := make(map[string]bool, len(b.leases))
	var todo []completion
	var leases []queue.Lease
	admitted := make([]completion, len(b.leases))
	good := make([]bool, len(b.leases))
	onAllCores(len(b.leases), func(i int) { admitted[i], good[i] = d.admit(ctx, s, b.leases[i]) })
	for i, c := range admitted {
		l := c.lease
		switch {
		case !good[i]:
		case c.payload.Hashed && desc.Form != credstore.FormHash:
			s.park(l, "the store takes no hashes any more")
		case !c.payload.Hashed && desc.Form != credstore.FormPlaintext:
			d.handOn(ctx, s, c, reset.LaneHash, c.payload) // it took plaintext when this was accepted
		case accounts[c.payload.AccountID]:
			s.at(l, d.clock.Now()) // the port takes distinct accounts only
		default:
			accounts[c.payload.AccountID] = true
			todo, leases = append(todo, c), append(leases, l)
		}
	}
	if len(todo) == 0 {
		return
	}
	results := make([]credstore.Result, len(todo))
	fates := d.bisect(ctx, b.take(0), b.lane, leases, func(ctx context.Context, from, to int) error {
		return d.set(ctx, todo[from:to], results[from:to])
	})
	for i, c := range todo {
		switch fates[i] {
		case fateDone:
			if err := downstream.Guard(func() error { return d.applied(ctx, s, c, results[i]) }); err != nil {
				s.fail(c.lease, "panic after it was applied")
			}
		case fateFailed:
			s.fail(c.lease, "the store failed to apply it")
		default:
			s.again(c.lease)
		}
	}
}

// badAnswer is the error of a call that was answered with another number of results than it had items.
func badAnswer(format string, got, want int) error {
	return &failure.Error{Code: failure.BadAnswer, Err: fmt.Errorf(format, got, want)}
}

func (d *Dispatch) set(ctx context.Context, todo []completion, results []credstore.Result) error {
	changes := make([]credstore.Change, len(todo))
	for i, c := range todo {
		changes[i] = credstore.Change{
			AccountID: c.payload.AccountID, Password: credstore.Secret(c.payload.Password),
			ChangeID: c.lease.Job.ID.String(), Sequence: c.lease.Job.Sequence, AcceptTime: c.lease.Job.AcceptTime,
		}
	}
	got, err := d.deps.Store.SetPasswords(ctx, changes)
	if err != nil {
		return err
	}
	if len(got) != len(todo) {
		return badAnswer("dispatch: the store answered %d changes of %d", len(got), len(todo))
	}
	copy(results, got)
	return nil
}

// applied ends a completion as the store's result says.
func (d *Dispatch) applied(ctx context.Context, s *settlement, c completion, r credstore.Result) error {
	rejected := func(reason reset.Reason) {
		s.end(ending{Finish: queue.Finish{Lease: c.lease, State: reset.StateRejected, Reason: reason}})
	}
	switch r.Outcome {
	case credstore.Applied, credstore.AlreadyApplied:
		followUps, err := d.afterwards(ctx, c)
		if err != nil {
			s.again(c.lease) // the next delivery is answered AlreadyApplied
			return nil       // settled
		}
		s.end(ending{Finish: queue.Finish{Lease: c.lease, State: reset.StateDone, FollowUps: followUps}})
	case credstore.Superseded:
		rejected(reset.ReasonSuperseded)
	case credstore.UnknownAccount:
		rejected(reset.ReasonAccountGone)
	case credstore.Refused:
		d.store.RecordItem(ctx, downstream.KindMain, failure.ItemRefused)
		d.refuse(ctx, s, c, reset.ReasonPasswordRefused)
	case credstore.RetryItem:
		d.store.RecordItem(ctx, downstream.KindMain, failure.AskedToRetry)
		s.fail(c.lease, "the store asked to retry it")
	default:
		d.store.RecordItem(ctx, downstream.KindMain, failure.BadAnswer)
		s.fail(c.lease, "the store's answer is unknown")
	}
	return nil
}

// afterwards makes the follow-ups of an applied change: revocation and confirmation.
func (d *Dispatch) afterwards(ctx context.Context, c completion) ([]reset.Job, error) {
	var jobs []reset.Job
	p := c.payload
	signOut := p.SignOut
	if signOut == reset.SignOutDefault {
		signOut = d.cfg.SignOut
	}
	account := c.lease.Job.Account
	if signOut == reset.SignOutEverywhere && d.revocations() > 0 {
		j, err := d.follow(ctx, seal.AudiencePII, reset.Job{
			Lane: reset.LaneRevoke, Class: reset.ClassDeferrable, Key: account, Unique: true, Account: account,
			Trace: c.lease.Job.Trace,
		}, reset.RevokePayload{AccountID: p.AccountID, SessionsBefore: c.lease.Job.AcceptTime}.Marshal())
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, j)
	}
	j, err := d.startByAccount(ctx, c, reset.PurposeConfirmation, reset.ClassDeferrable)
	if err != nil {
		return nil, err
	}
	return append(jobs, j), nil
}

// startByAccount makes the start job of a confirmation or of a replacement link: a completion knows only an account id.
func (d *Dispatch) startByAccount(ctx context.Context, c completion, why reset.Purpose, class reset.Class) (reset.Job, error) {
	account := c.lease.Job.Account
	return d.follow(ctx, seal.AudiencePII, reset.Job{
		Lane: reset.LaneStart, Class: class, Key: account, Unique: true, Account: account, Trace: c.lease.Job.Trace,
	}, reset.StartPayload{AccountID: c.payload.AccountID, Locale: c.payload.Locale, Purpose: why}.Marshal())
}

// refuse ends a completion whose password was refused late; the person gets a new link (SECURITY.md 17), and waits for it.
func (d *Dispatch) refuse(ctx context.Context, s *settlement, c completion, why reset.Reason) {
	j, err := d.startByAccount(ctx, c, reset.PurposeReplacement, c.lease.Job.Class)
	if err != nil {
		s.again(c.lease)
		return
	}
	s.end(ending{Finish: queue.Finish{
		Lease: c.lease, State: reset.StateRejected, Reason: why, FollowUps: []reset.Job{j},
	}})
}

// replacement is the start job of a new link; none if it cannot be sealed: expiry must not wait for that. Who set his
// password so long ago does not sit and wait, and after a long outage there are many: they stand behind those who do
// (SECURITY.md 16).
func (d *Dispatch) replacement(ctx context.Context, c completion) []reset.Job {
	j, err := d.startByAccount(ctx, c, reset.PurposeReplacement, reset.ClassDeferrable)
	if err != nil {
		d.log.WarnContext(ctx, "no replacement link for an expired completion", "job", c.lease.Job.ID.String(), "err", err)
		return nil
	}
	return []reset.Job{j}
}

// expired ends a completion whose sealed password may wait no longer.
func (d *Dispatch) expired(l queue.Lease, followUps []reset.Job) ending {
	return ending{
		Finish: queue.Finish{Lease: l, State: reset.StateFailed, Reason: reset.ReasonExpired, FollowUps: followUps},
		done:   func() { d.metrics.expired(l.Job.Lane) },
	}
}

// sweepBatch bounds one sweep's leases; a sweep goes on until it gets fewer.
const sweepBatch = 256

// sweepLoop ends expired completions that no lane would reach, parked ones included.
func (d *Dispatch) sweepLoop(ctx context.Context) error {
	for d.clock.Sleep(ctx, d.cfg.SweepEvery) == nil {
		for _, l := range d.lanes {
			if l.name != reset.LaneHash && l.name != reset.LaneApply {
				continue
			}
			for ctx.Err() == nil && d.sweep(ctx, l) { // the rest of a full one
			}
		}
	}
	return nil
}

// sweep tells whether there may be more. What cannot be ended now (its key cannot be read) waits for the next sweep.
func (d *Dispatch) sweep(ctx context.Context, l *lane) (more bool) {
	leases, err := d.deps.Queue.Lease(ctx, queue.LeaseRequest{
		Lane: l.name, UpTo: reset.ClassDeferrable, Max: sweepBatch, Visibility: time.Minute, Expired: true,
	})
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, queue.ErrClosed) {
			d.log.Error("cannot lease expired jobs", "lane", l.name.String(), "err", err)
		}
		return false
	}
	s := d.settle(&batch{lane: l, leased: d.clock.Now()})
	for _, lease := range leases {
		c := completion{lease: lease}
		if d.open(ctx, s, lease, &c.payload) {
			s.end(d.expired(lease, d.replacement(ctx, c)))
		}
	}
	s.dropParks() // what cannot be opened is erased like the rest: its time is over
	more = len(s.ends) == sweepBatch
	s.commit(ctx)
	return more
}

// dropParks turns parks of expired jobs into their end.
func (s *settlement) dropParks() {
	for _, p := range s.parks {
		s.end(s.d.expired(p.Lease, nil))
	}
	s.parks = nil
}

// workRevoke ends sessions.
func (d *Dispatch) workRevoke(ctx context.Context, b *batch) {
	s := d.settle(b)
	defer s.commit(ctx)
	var leases []queue.Lease
	var revocations []credstore.Revocation
	accounts := make(map[string]bool, len(b.leases))
	for _, l := range b.leases {
		var p reset.RevokePayload
		switch {
		case !d.open(ctx, s, l, &p):
		case accounts[p.AccountID]:
			s.at(l, d.clock.Now()) // the port takes distinct accounts only
		default:
			accounts[p.AccountID] = true
			leases = append(leases, l)
			revocations = append(revocations, credstore.Revocation{
				AccountID: p.AccountID, RevocationID: l.Job.ID.String(), SessionsBefore: p.SessionsBefore,
			})
		}
	}
	if len(leases) == 0 {
		return
	}
	fates := d.bisect(ctx, b.take(0), b.lane, leases, func(ctx context.Context, from, to int) error {
		got, err := d.deps.Revoker.RevokeSessions(ctx, revocations[from:to])
		if err == nil && len(got) != to-from {
			err = badAnswer("dispatch: the revoker answered %d revocations of %d", len(got), to-from)
		}
		return err
	})
	for i, l := range leases {
		switch fates[i] {
		case fateDone: // an account that is not known has no sessions
			s.end(ending{Finish: queue.Finish{Lease: l, State: reset.StateDone}})
		case fateFailed:
			s.fail(l, "the revoker failed")
		default:
			s.again(l)
		}
	}
}

// meets tells why surgegate cannot do what the store needs.
func (d *Dispatch) meets(desc credstore.Description) error {
	code := failure.NoForm
	err := fmt.Errorf("dispatch: the store wants passwords in the unknown form %d", desc.Form)
	switch desc.Form {
	case credstore.FormPlaintext:
		return nil
	case credstore.FormHash:
		if _, ok := d.scheme(desc); ok {
			return nil
		}
		code = failure.NoneInCommon
		err = fmt.Errorf("dispatch: the store verifies none of the hash schemes that surgegate makes")
	}
	return &failure.Error{Scope: failure.Downstream, Class: failure.Config, Code: code, Err: err}
}

// scheme is the best hash that the store can verify and surgegate can make.
func (d *Dispatch) scheme(desc credstore.Description) (string, bool) {
	for _, s := range desc.HashSchemes {
		if d.deps.Hasher.CanMake(s) {
			return s, true
		}
	}
	return "", false
}

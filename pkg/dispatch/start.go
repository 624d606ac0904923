package dispatch

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/dispatch/internal/downstream"
	"github.com/surgegate/surgegate/pkg/mail"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/seal"
	"github.com/surgegate/surgegate/pkg/token"
)

// ask is one start job in hand.
type ask struct {
	lease    queue.Lease
	payload  reset.StartPayload
	accounts []credstore.Account
}

// workStart looks a batch up and ends each job, with mail jobs for those that are to get one.
func (d *Dispatch) workStart(ctx context.Context, b *batch) {
	s := d.settle(b)
	defer s.commit(ctx)
	asks := make([]ask, 0, len(b.leases))
	leases := make([]queue.Lease, 0, len(b.leases))
	for _, l := range b.leases {
		a := ask{lease: l}
		if d.open(ctx, s, l, &a.payload) {
			asks, leases = append(asks, a), append(leases, l)
		}
	}
	if len(asks) == 0 {
		return
	}
	fates := d.bisect(ctx, b.take(0), b.lane, leases, func(ctx context.Context, from, to int) error {
		return d.lookup(ctx, asks[from:to])
	})
	for i, a := range asks {
		switch fates[i] {
		case fateDone:
			var e ending
			err := downstream.Guard(func() (err error) {
				e, err = d.ended(ctx, a)
				return err
			})
			switch {
			case errors.Is(err, downstream.ErrPanic):
				s.fail(a.lease, "panic after the look-up")
			case err != nil: // the queue's records or keys
				s.again(a.lease)
			default:
				s.end(e)
			}
		case fateFailed:
			s.fail(a.lease, "the store failed to look it up")
		default:
			s.again(a.lease)
		}
	}
}

// lookup fills in the accounts. Results come for the identifiers first, then for the account ids.
func (d *Dispatch) lookup(ctx context.Context, asks []ask) error {
	var identifiers, ids []string
	for _, a := range asks {
		if a.payload.AccountID != "" {
			ids = append(ids, a.payload.AccountID)
		} else {
			identifiers = append(identifiers, a.payload.Identifier)
		}
	}
	found, err := d.deps.Store.Lookup(ctx, identifiers, ids)
	if err != nil {
		return err
	}
	if len(found) != len(asks) {
		return badAnswer("dispatch: the store answered %d look-ups of %d", len(found), len(asks))
	}
	byIdentifier, byID := found[:len(identifiers)], found[len(identifiers):]
	for i := range asks {
		from := &byIdentifier
		if asks[i].payload.AccountID != "" {
			from = &byID
		}
		asks[i].accounts = (*from)[0]
		*from = (*from)[1:]
		d.book.Learn(asks[i].accounts)
	}
	return nil
}

// mostMails bounds the mails of one ask: an address that hundreds of accounts share gets no hundreds of mails at the
// press of one button. Who is left out can ask by the account's own name.
const mostMails = 10

// mostAddress is the longest address in bytes, of RFC 5321, section 4.5.3.1: mail would refuse a longer one for good.
const mostAddress = 254

// ended decides what follows a look-up that was answered.
func (d *Dispatch) ended(ctx context.Context, a ask) (ending, error) {
	e := ending{Finish: queue.Finish{Lease: a.lease, State: reset.StateDone}}
	purpose := a.payload.Purpose.String()
	sent, withheld := 0, 0
	budget := ledger{d: d, now: d.clock.Now(), budgets: d.knobs.budgets.Load()}
	for _, acct := range a.accounts {
		if acct.NotResettable && a.payload.Purpose != reset.PurposeConfirmation {
			continue
		}
		if acct.Address == "" || len(acct.Address) > mostAddress || acct.ID == "" || len(acct.ID) > token.MaxAccountID {
			continue // nowhere to mail to, or no token could name it
		}
		key := d.deps.Index.Account(acct.ID)
		if a.payload.Purpose == reset.PurposeLink {
			if sent == mostMails {
				withheld++
				continue
			}
			ok, err := budget.spend(ctx, a.lease.Job.Key, key, d.deps.Index.Recipient(acct.Address))
			if err != nil {
				return ending{}, err
			}
			if !ok {
				withheld++
				continue
			}
		}
		j, err := d.mailJob(ctx, a, acct, key)
		if err != nil {
			return ending{}, err
		}
		sent++
		e.FollowUps = append(e.FollowUps, j)
	}
	e.Records = budget.writes()
	e.done = func() { d.metrics.mails(purpose, mailWithheld, withheld) }
	if len(e.Records) > 0 {
		e.redo = func(ctx context.Context) (ending, error) { return d.ended(ctx, a) }
	}
	return e, nil
}

func (d *Dispatch) mailJob(ctx context.Context, a ask, acct credstore.Account, key reset.Key) (reset.Job, error) {
	// Without the trace of an ask: a link or an exemplar that only some asks have would tell who has an account.
	j := reset.Job{Lane: reset.LaneMail, Class: a.lease.Job.Class, Key: key, Account: key}
	asked := a.lease.Job.AcceptTime
	if a.payload.Purpose != reset.PurposeLink {
		asked = time.Time{} // nobody did
		j.Trace = a.lease.Job.Trace
		j.Unique = true // joined to a link mail that waits it would not be told, or told too late
		j.AcceptTime = a.lease.Job.AcceptTime
	}
	locale := a.payload.Locale
	if locale == "" {
		locale = acct.Locale
	}
	return d.follow(ctx, seal.AudiencePII, j, reset.MailPayload{
		AccountID: acct.ID, Address: acct.Address, Locale: locale, Purpose: a.payload.Purpose, AskTime: asked,
	}.Marshal())
}

// workMail signs the token at the hand-off, so that the link's life starts with it, and hands the mail off.
func (d *Dispatch) workMail(ctx context.Context, b *batch) {
	s := d.settle(b)
	defer s.commit(ctx)
	l := b.leases[0] // the lane's batch is 1: a provider takes one message a call
	var p reset.MailPayload
	if !d.open(ctx, s, l, &p) {
		return
	}
	var refused, deferred bool
	var m mailOut
	err := downstream.Guard(func() (err error) {
		m, err = d.compose(ctx, l.Job, p)
		return err
	})
	switch {
	case errors.Is(err, errRecords):
		s.again(l)
		return
	case err != nil:
		s.fail(l, "the mail could not be written")
		return
	}
	fates := d.bisect(ctx, b.take(0), b.lane, b.leases, func(ctx context.Context, _, _ int) error {
		err := d.deps.Mailer.Send(ctx, m.message)
		// An answer about this mail alone, unless the provider refuses every mail: then the fate is another.
		refused, deferred = errors.Is(err, mail.ErrRefused), errors.Is(err, mail.ErrDeferred)
		return err
	})
	switch fate := fates[0]; {
	case fate == fateAgain:
		s.again(l)
	case fate == fateFailed && !refused:
		s.fail(l, "the mail provider failed")
	case (deferred || fate == fateFailed) && s.patient(l): // or it is not known yet whether the provider refuses every mail
	default:
		refused = refused || deferred // for so long that it is for good
		outcome := mailSent
		if refused {
			outcome, m.records = mailRefused, nil // nobody is told: it would tell who has an account
		}
		s.end(ending{
			Finish: queue.Finish{Lease: l, State: reset.StateDone, Records: m.records},
			done:   func() { d.mailed(p, l.Job, outcome) },
		})
	}
}

// mailed counts a mail that has ended.
func (d *Dispatch) mailed(p reset.MailPayload, j reset.Job, outcome string) {
	d.metrics.mails(p.Purpose.String(), outcome, 1)
	if p.Purpose != reset.PurposeLink || d.deps.Link == nil {
		return
	}
	asked := p.AskTime
	if asked.IsZero() { // sealed by an older version
		asked = j.AcceptTime
	}
	d.deps.Link(d.clock.Now().Sub(asked), outcome == mailSent)
}

// ledger spends the budgets of one start job: read once, spent once for each mail, written with its Finish.
type ledger struct {
	d       *Dispatch
	now     time.Time
	budgets *budgets
	entries []*entry
	inboxes []*inbox
}

// inbox is what is known of the last link to a recipient. A link counts from the moment that its mail is in line: until
// it is handed off, as many more could be asked for as the recipient has accounts.
type inbox struct {
	key     string
	version uint64
	link    link
	mailed  bool // by this job
}

// entry is one budget by the generic cell rate algorithm (ITU-T I.371): full is when the bucket will be full again.
type entry struct {
	key     string
	budget  Budget
	version uint64
	full    time.Time
	spent   bool
}

// spend takes a mail from all three budgets. It says no only if one is used up while a link that was mailed earlier
// (to that account; where the recipient's is used up, to that recipient) is still good; used up budgets are then left as
// they are.
func (b *ledger) spend(ctx context.Context, identifier, account, recipient reset.Key) (bool, error) {
	entries := make([]*entry, 0, 3)
	for _, of := range []struct {
		prefix string
		key    reset.Key
		budget Budget
	}{
		{"i", identifier, b.budgets.identifier}, {"a", account, b.budgets.account}, {"r", recipient, b.budgets.recipient},
	} {
		e, err := b.entry(ctx, recordKey(of.prefix, of.key), of.budget)
		if err != nil {
			return false, err
		}
		entries = append(entries, e)
	}
	if !entries[0].room(b.now) || !entries[1].room(b.now) {
		last, _, err := b.d.lastLink(ctx, recordKey("", account))
		if err != nil {
			return false, err
		}
		if good, err := b.d.linkGood(ctx, last, b.now); err != nil || good {
			return false, err
		}
	}
	in, err := b.inbox(ctx, recipient)
	if err != nil {
		return false, err
	}
	if !entries[2].room(b.now) {
		if in.mailed {
			return false, nil
		}
		if good, err := b.d.linkGood(ctx, in.link, b.now); err != nil || good {
			return false, err
		}
	}
	mark, err := b.d.deps.Queue.Mark(ctx, account)
	if err != nil {
		return false, err
	}
	in.link = link{until: b.now.Add(b.d.cfg.LinkTTL), mark: mark, account: account}
	in.mailed = true
	for _, e := range entries {
		e.spend(b.now)
	}
	return true, nil
}

func (b *ledger) inbox(ctx context.Context, recipient reset.Key) (*inbox, error) {
	key := recordKey("r", recipient)
	for _, in := range b.inboxes {
		if in.key == key {
			return in, nil
		}
	}
	last, version, err := b.d.lastLink(ctx, key)
	if err != nil {
		return nil, err
	}
	in := &inbox{key: key, version: version, link: last}
	b.inboxes = append(b.inboxes, in)
	return in, nil
}

func (b *ledger) entry(ctx context.Context, key string, budget Budget) (*entry, error) {
	for _, e := range b.entries {
		if e.key == key {
			return e, nil
		}
	}
	e := &entry{key: key, budget: budget}
	r, err := b.d.deps.Queue.Get(ctx, queue.RecordBudget, key)
	switch {
	case errors.Is(err, queue.ErrNotFound):
	case err != nil:
		return nil, err
	default:
		e.version = r.Version
		e.full = timeOf(r.Value)
	}
	b.entries = append(b.entries, e)
	return e, nil
}

func (e *entry) interval() time.Duration { return e.budget.Per / time.Duration(e.budget.Mails) }

func (e *entry) room(now time.Time) bool {
	free := now.Add(e.interval() * time.Duration(e.budget.Burst-1))
	return !e.full.After(free)
}

func (e *entry) spend(now time.Time) {
	if !e.room(now) {
		return // over budget, but mailed because no good link was out: it cannot be more than empty
	}
	if e.full.Before(now) {
		e.full = now
	}
	e.full = e.full.Add(e.interval())
	e.spent = true
}

// writes are the records to set with the Finish.
func (b *ledger) writes() []queue.RecordWrite {
	var w []queue.RecordWrite
	for _, e := range b.entries {
		if e.spent {
			w = append(w, queue.RecordWrite{
				Kind: queue.RecordBudget, Key: e.key, Value: timeBytes(e.full), Version: e.version, ExpireTime: e.full,
			})
		}
	}
	for _, in := range b.inboxes {
		if in.mailed {
			w = append(w, in.link.write(in.key, in.version))
		}
	}
	return w
}

// link is the last one that was mailed to an account or a recipient.
type link struct {
	until   time.Time
	mark    uint64 // that it was signed at
	account reset.Key
}

func (l link) write(key string, version uint64) queue.RecordWrite {
	return queue.RecordWrite{
		Kind: queue.RecordLink, Key: key, Value: linkBytes(l), Version: version, ExpireTime: l.until,
	}
}

// lastLink reads the record of the last link; one that is absent has expired long ago.
func (d *Dispatch) lastLink(ctx context.Context, key string) (last link, version uint64, err error) {
	r, err := d.deps.Queue.Get(ctx, queue.RecordLink, key)
	if errors.Is(err, queue.ErrNotFound) {
		return link{}, 0, nil
	}
	return linkOf(r.Value), r.Version, err
}

// linkGood tells whether the link can still be used: it has not expired and no completion of the account has been
// accepted since it was signed.
func (d *Dispatch) linkGood(ctx context.Context, l link, now time.Time) (bool, error) {
	if !now.Before(l.until) {
		return false, nil
	}
	mark, err := d.deps.Queue.Mark(ctx, l.account)
	return err == nil && (mark == 0 || mark == l.mark), err
}

// errRecords is the queue's failure, not the mail's.
var errRecords = errors.New("dispatch: the queue's records cannot be read")

// mailOut is a mail and what is recorded once it is handed off.
type mailOut struct {
	message mail.Message
	records []queue.RecordWrite
}

// compose writes the mail of a job, with a token signed now where it is a link.
func (d *Dispatch) compose(ctx context.Context, j reset.Job, p reset.MailPayload) (mailOut, error) {
	id := j.ID.String()
	switch p.Purpose {
	case reset.PurposeConfirmation:
		return mailOut{message: d.deps.Templates.Confirmation(id, p.Address, p.Locale, j.AcceptTime)}, nil
	case reset.PurposeLink, reset.PurposeReplacement:
	default:
		return mailOut{}, fmt.Errorf("dispatch: purpose %d is unknown", p.Purpose)
	}
	mark, err := d.deps.Queue.Mark(ctx, j.Account)
	if err != nil {
		return mailOut{}, fmt.Errorf("%w: %w", errRecords, err)
	}
	now := d.clock.Now().Truncate(time.Microsecond)
	claims := token.Claims{
		Purpose: token.PurposeReset, AccountID: p.AccountID, Mark: mark, IssueTime: now, ExpireTime: now.Add(d.cfg.LinkTTL),
	}
	_, _ = rand.Read(claims.Nonce[:]) // never fails since Go 1.24
	tok, err := d.deps.Signer.Sign(claims)
	if err != nil {
		return mailOut{}, err
	}
	last := link{until: claims.ExpireTime, mark: mark, account: j.Account}
	return mailOut{
		message: d.deps.Templates.Link(id, p.Address, p.Locale, tok, d.cfg.LinkTTL),
		records: []queue.RecordWrite{
			last.write(recordKey("", j.Account), queue.AnyVersion),
			last.write(recordKey("r", d.deps.Index.Recipient(p.Address)), queue.AnyVersion),
		},
	}, nil
}

// Values of records: a budget is the µs at which it will be full again; a link the µs until which it is good, the mark
// that it was signed at, and its account's key. Numbers are 8 bytes, big-endian.

func recordKey(prefix string, k reset.Key) string { return prefix + hex.EncodeToString(k[:]) }

func timeBytes(t time.Time) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(t.UnixMicro()))
}

// timeOf reads what timeBytes wrote; anything else is a time long past: a budget that is full.
func timeOf(b []byte) time.Time {
	if len(b) != 8 {
		return time.Time{}
	}
	return time.UnixMicro(int64(binary.BigEndian.Uint64(b)))
}

func linkBytes(l link) []byte {
	return append(binary.BigEndian.AppendUint64(timeBytes(l.until), l.mark), l.account[:]...)
}

// linkOf reads what linkBytes wrote; anything else is a link that expired long ago.
func linkOf(b []byte) link {
	if len(b) != 16+len(reset.Key{}) {
		return link{}
	}
	return link{until: timeOf(b[:8]), mark: binary.BigEndian.Uint64(b[8:16]), account: reset.Key(b[16:])}
}

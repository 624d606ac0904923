package postgres

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/surgegate/surgegate/pkg/credstore"
)

// SetPasswords implements credstore.Store: one transaction a batch.
func (s *Store) SetPasswords(ctx context.Context, changes []credstore.Change) ([]credstore.Result, error) {
	if len(changes) == 0 {
		return nil, nil
	}
	p, err := s.ready(ctx)
	if err != nil {
		return nil, err
	}
	results := make([]credstore.Result, len(changes))
	w := screen(p, changes, results)
	if len(w.at) == 0 {
		return results, ended(ctx)
	}
	if p.set == "" {
		err = s.transact(ctx, "set passwords", func(b *pgx.Batch) {
			b.Queue(p.write, w.ids, w.sequences, w.changeIDs, w.acceptTimes, w.hashes).Query(w.claimed())
		})
	} else {
		err = s.with(ctx, "set passwords", func(c call) error { return w.inSteps(c, p) })
	}
	if err != nil {
		return nil, err
	}
	if err := s.settle(ctx, p, w, results); err != nil {
		return nil, err // the batch is in place, and delivered again
	}
	return results, nil
}

// writing is the part of a batch that goes to the server, by column.
type writing struct {
	at                     []int // in the batch
	ids, changeIDs, hashes []string
	sequences              []int64
	acceptTimes            []time.Time
	locked, put            []bool
}

// screen answers what needs no asking.
func screen(p *plan, changes []credstore.Change, results []credstore.Result) *writing {
	w := &writing{}
	seen := make(map[string]bool, len(changes))
	for i, c := range changes {
		refusal := malformed(c)
		switch {
		case !p.ids.valid(c.AccountID):
			results[i] = credstore.Result{Outcome: credstore.UnknownAccount}
		case refusal != "":
			results[i] = credstore.Result{Outcome: credstore.Refused, Detail: refusal}
		case seen[c.AccountID]: // the port has distinct accounts; one statement cannot upsert a row twice
			results[i] = credstore.Result{Outcome: credstore.RetryItem, Detail: "the batch has the account twice"}
		default:
			seen[c.AccountID] = true
			w.at = append(w.at, i)
			w.ids, w.changeIDs, w.hashes = append(w.ids, c.AccountID), append(w.changeIDs, c.ChangeID), append(w.hashes, c.Password.Reveal())
			w.sequences = append(w.sequences, int64(c.Sequence)) // malformed bounds it
			w.acceptTimes = append(w.acceptTimes, c.AcceptTime)
		}
	}
	w.locked, w.put = make([]bool, len(w.at)), make([]bool, len(w.at))
	return w
}

func malformed(c credstore.Change) string {
	switch password := c.Password.Reveal(); {
	case !strings.HasPrefix(password, "$") || !text(password):
		return "not a PHC string"
	case !text(c.ChangeID):
		return "no change id"
	case c.Sequence == 0 || c.Sequence > math.MaxInt64:
		return "sequence out of range"
	default:
		return ""
	}
}

// claimed reads what the write statement returns.
func (w *writing) claimed() func(pgx.Rows) error {
	var put bool
	return numbered(len(w.at), func(i int) { w.locked[i], w.put[i] = true, put }, &put, nil)
}

// inSteps claims, has the site's own statement write what was put, and commits.
func (w *writing) inSteps(c call, p *plan) error {
	var claim pgx.Batch
	c.open(&claim)
	claim.Queue(p.write, w.ids, w.sequences, w.changeIDs, w.acceptTimes).Query(w.claimed())
	if err := c.send(&claim); err != nil {
		return err
	}
	var ids, hashes []string
	var times []time.Time
	for i, put := range w.put {
		if put {
			ids, hashes, times = append(ids, w.ids[i]), append(hashes, w.hashes[i]), append(times, w.acceptTimes[i])
		}
	}
	if len(ids) > 0 {
		var set pgx.Batch
		set.Queue(p.set, ids, hashes, times).Exec(func(tag pgconn.CommandTag) error {
			if tag.RowsAffected() != int64(len(ids)) {
				return errUnwritten
			}
			return nil
		})
		if err := c.send(&set); err != nil {
			return err
		}
	}
	var end pgx.Batch
	end.Queue(commit)
	return c.send(&end)
}

// settle answers each item; for those that were not put it asks why, after the commit: the answer holds at that moment,
// and whichever came in between, it is one that a delivery a moment later would have got.
func (s *Store) settle(ctx context.Context, p *plan, w *writing, results []credstore.Result) error {
	var rest []int
	var ids []string
	for i, at := range w.at {
		if results[at] = (credstore.Result{Outcome: credstore.Applied}); !w.put[i] {
			rest, ids = append(rest, i), append(ids, w.ids[i])
		}
	}
	if len(rest) == 0 {
		return nil
	}
	exists, last := make([]bool, len(rest)), make([]string, len(rest))
	err := s.transact(ctx, "ask for the changes in place", func(b *pgx.Batch) {
		b.Queue(p.lookupIDs, ids).Query(found(len(rest), func(j int) { exists[j] = true }))
		var changeID string
		b.Queue(p.last, ids).Query(numbered(len(rest), func(j int) { last[j] = changeID }, &changeID))
	})
	if err != nil {
		return err
	}
	for j, i := range rest {
		r := &results[w.at[i]]
		switch {
		case !exists[j]:
			*r = credstore.Result{Outcome: credstore.UnknownAccount}
		case last[j] == w.changeIDs[i]:
			*r = credstore.Result{Outcome: credstore.AlreadyApplied}
		case !w.locked[i]:
			*r = credstore.Result{Outcome: credstore.RetryItem, Detail: "another transaction holds the account's row"}
		default:
			*r = credstore.Result{Outcome: credstore.Superseded, Detail: "a newer reset, or a change of the site's own, is in place"}
		}
	}
	return nil
}

// RevokeSessions implements credstore.Revoker. Deleting by the moment that a session began is idempotent by itself. A
// session that somebody holds is waited for, up to the lock timeout: one that is left out would stay good.
func (s *Store) RevokeSessions(ctx context.Context, revocations []credstore.Revocation) ([]credstore.Revoked, error) {
	if len(revocations) == 0 {
		return nil, nil
	}
	p, err := s.ready(ctx)
	if err != nil {
		return nil, err
	}
	if p.revoke == "" {
		return nil, fmt.Errorf("postgres: revoke: %w: neither sessions.table nor statements.revoke is set", credstore.ErrConfig)
	}
	results := make([]credstore.Revoked, len(revocations))
	var ids []string
	var before []time.Time
	var at []int
	for i, r := range revocations {
		if p.ids.valid(r.AccountID) {
			at = append(at, i)
		}
	}
	// Two batches that share an account wait for its sessions in the same order.
	slices.SortFunc(at, func(a, b int) int { return cmp.Compare(revocations[a].AccountID, revocations[b].AccountID) })
	for _, i := range at {
		ids, before = append(ids, revocations[i].AccountID), append(before, revocations[i].SessionsBefore)
	}
	if len(at) == 0 {
		return results, ended(ctx)
	}
	err = s.transact(ctx, "revoke", func(b *pgx.Batch) {
		var count int
		b.Queue(p.revoke, ids, before).Query(numbered(len(at), func(i int) { results[at[i]].Ended = count }, &count))
		b.Queue(p.lookupIDs, ids).Query(found(len(at), func(i int) { results[at[i]].Known = true }))
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/surgegate/surgegate/pkg/credstore"
)

// Lookup implements credstore.Store: one round trip.
func (s *Store) Lookup(ctx context.Context, identifiers, accountIDs []string) ([][]credstore.Account, error) {
	if len(identifiers)+len(accountIDs) == 0 {
		return nil, nil
	}
	p, err := s.ready(ctx)
	if err != nil {
		return nil, err
	}
	results := make([][]credstore.Account, len(identifiers)+len(accountIDs))
	typed := pick(identifiers, 0, text)
	ids := pick(accountIDs, len(identifiers), p.ids.valid)
	if len(typed.keys)+len(ids.keys) == 0 {
		return results, ended(ctx)
	}
	err = s.transact(ctx, "look up", func(b *pgx.Batch) {
		if len(typed.keys) > 0 {
			b.Queue(p.lookup, typed.keys).Query(typed.into(results))
		}
		if len(ids.keys) > 0 {
			b.Queue(p.lookupIDs, ids.keys).Query(ids.into(results))
		}
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

// picked is the part of a batch that PostgreSQL is asked for, and where the answers belong.
type picked struct {
	keys []string
	at   []int
}

// pick leaves out what cannot be an account.
func pick(keys []string, offset int, valid func(string) bool) picked {
	var p picked
	for i, key := range keys {
		if valid(key) {
			p.keys, p.at = append(p.keys, key), append(p.at, offset+i)
		}
	}
	return p
}

// into reads accounts into the results of their keys.
func (p picked) into(results [][]credstore.Account) func(pgx.Rows) error {
	var a credstore.Account
	var hash string
	return numbered(len(p.at), func(i int) {
		a.CurrentHash = credstore.Secret(hash)
		a.NotResettable = a.NotResettable || a.Address == "" // there is nowhere to send a link to
		results[p.at[i]] = append(results[p.at[i]], a)
	}, &a.ID, &a.Address, &a.Locale, &hash, &a.NotResettable)
}

// numbered reads rows that begin with the number of an item, from 1; take is told its index when the other columns have
// been read into columns (nil for one that nobody wants).
func numbered(items int, take func(i int), columns ...any) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		var n int64
		into := append([]any{&n}, columns...)
		for rows.Next() {
			if err := rows.Scan(into...); err != nil {
				return err
			}
			if n < 1 || n > int64(items) { // a statement of the site's own can return anything
				return fmt.Errorf("postgres: %w: a statement returned n = %d for %d items: n is the number WITH ORDINALITY gives in $1", credstore.ErrConfig, n, items)
			}
			take(int(n - 1))
		}
		return rows.Err()
	}
}

// found marks the accounts that a look-up by id returns.
func found(items int, mark func(i int)) func(pgx.Rows) error {
	return numbered(items, mark, nil, nil, nil, nil, nil)
}

package bench

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/credstore/sqlite"
)

const (
	sqliteAccounts = 20_000
	sqliteBatch    = 256
	sqliteTime     = 3 * time.Second
)

func (s *suite) sqlite(ctx context.Context) ([]Row, error) {
	store, err := sqlite.New(ctx, sqlite.Config{Path: filepath.Join(s.dir, "store.db")})
	if err != nil {
		return nil, err
	}
	defer func() { _ = store.Close() }()
	for at := 0; at < sqliteAccounts; at += 1000 {
		var accounts []sqlite.Account
		for i := range 1000 {
			accounts = append(accounts, sqlite.Account{Account: credstore.Account{ID: person(at + i), Address: person(at + i)}, Login: person(at + i)})
		}
		if err := store.PutAccounts(ctx, accounts...); err != nil {
			return nil, err
		}
	}
	next := 0
	rate := func(batch int) (float64, error) {
		begin, done := s.Clock.Now(), 0
		for s.Clock.Now().Sub(begin) < sqliteTime {
			var changes []credstore.Change
			for range batch {
				next++
				changes = append(changes, credstore.Change{
					AccountID: person(next % sqliteAccounts), Password: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2E$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g",
					ChangeID: fmt.Sprint(next), Sequence: uint64(next), AcceptTime: begin, //nolint:gosec // counts up from 1
				})
			}
			if _, err := store.SetPasswords(ctx, changes); err != nil {
				return 0, err
			}
			done += batch
		}
		return float64(done) / s.Clock.Now().Sub(begin).Seconds(), nil
	}
	var ratios, batches, singles []float64
	for range 3 {
		one, err := rate(1)
		if err != nil {
			return nil, err
		}
		many, err := rate(sqliteBatch)
		if err != nil {
			return nil, err
		}
		singles, batches, ratios = append(singles, one), append(batches, many), append(ratios, many/one)
	}
	ratio := median(ratios)
	return []Row{{
		Name: "SQLite writes in batches of 256 ÷ single synced writes", Value: median(batches), Unit: "writes/s",
		Reference: median(singles), Ratio: ratio, Goal: "ratio ≥ 5 (aim 20)", OK: ratio >= 5,
	}}, nil
}

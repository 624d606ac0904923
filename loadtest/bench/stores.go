package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/surgegate/surgegate/loadtest/report"
	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/credstore/postgres"
	"github.com/surgegate/surgegate/pkg/credstore/postgres/postgrestest"
	"github.com/surgegate/surgegate/pkg/credstore/sqlite"
)

const (
	sqliteAccounts = 20_000
	sqliteBatch    = 256
	sqliteTime     = 3 * time.Second
)

func (s *suite) sqlite(ctx context.Context) ([]report.Figure, error) {
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
					ChangeID: fmt.Sprint(next), Sequence: uint64(next), AcceptTime: begin,
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
	ratio := report.Median(ratios)
	return []report.Figure{{
		Name: "SQLite writes in batches of 256 ÷ single synced writes", Value: report.Median(batches), Unit: "writes/s",
		Reference: report.Median(singles), Ratio: ratio, Goal: "ratio ≥ 5 (aim 20)", OK: ratio >= 5,
	}}, nil
}

const (
	postgresAccounts = 200_000
	postgresBatch    = 256
	postgresTime     = 3 * time.Second
)

// Each side has its best among these numbers of connections: a few for batches, whatever it takes for single writes.
func postgresFew() []int  { return []int{4, 8} }
func postgresMany() []int { return []int{4, 16, 32, 64} }

// postgres compares batches over a few connections with what a site would write itself: one transaction a reset, the
// same side-table write in it, sent in one round trip, each at the number of connections at which it is fastest. fsync is
// on, and both share the machine with the server. Where others use the machine too, the server's processor time of a
// write says more than the rates: many connections then get a larger share of it than few.
func (s *suite) postgres(ctx context.Context) ([]report.Figure, error) {
	server, err := postgrestest.New(ctx, postgrestest.Config{Durable: true, Settings: map[string]string{
		"max_wal_size": "4GB", "shared_buffers": "512MB", // neither checkpoints nor misses are what is compared
	}})
	if err != nil {
		return nil, err
	}
	defer func() { _ = server.Close() }()
	pool, err := pgxpool.New(ctx, server.SocketURL(postgrestest.Superuser, "postgres")+"&pool_max_conns=64")
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	for _, sql := range []string{
		"CREATE TABLE users (id text PRIMARY KEY, email text NOT NULL UNIQUE, password_hash text)",
		`CREATE TABLE surgegate_changes (account_id text COLLATE "C" PRIMARY KEY, sequence bigint NOT NULL, change_id text NOT NULL,
			accept_time timestamptz NOT NULL) WITH (fillfactor = 70)`,
		fmt.Sprintf("INSERT INTO users SELECT 'person-' || i || '@example.com', 'person-' || i || '@example.com', '%s' FROM generate_series(0, %d) AS i",
			postgresHash, postgresAccounts-1),
		"VACUUM ANALYZE users",
	} {
		if _, err := pool.Exec(ctx, sql); err != nil {
			return nil, err
		}
	}
	store, err := postgres.New(ctx, postgres.Config{
		URL: server.SocketURL(postgrestest.Superuser, "postgres"), MaxConnections: slices.Max(postgresFew()), MaxBatch: postgresBatch,
		Accounts: postgres.Accounts{Table: "users"},
	}, postgres.Deps{Clock: s.Clock})
	if err != nil {
		return nil, err
	}
	defer func() { _ = store.Close() }()

	r := &postgresRun{suite: s, server: server, pool: pool, store: store}
	if _, _, err := r.rate(ctx, 4, r.batch); err != nil { // every account has its side row before it counts
		return nil, err
	}
	few, err := r.best(ctx, "batches", postgresFew(), r.batch)
	if err != nil {
		return nil, err
	}
	many, err := r.best(ctx, "one-row transactions", postgresMany(), r.single)
	if err != nil {
		return nil, err
	}
	var ratios, batches, singles []float64
	for range 3 {
		one, oneCost, err := r.rate(ctx, many, r.single)
		if err != nil {
			return nil, err
		}
		batch, batchCost, err := r.rate(ctx, few, r.batch)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(s.Output, "  one-row %.0f/s, batches %.0f/s, ratio %.2f; processor time of the server %.1f µs and %.1f µs a write\n",
			one, batch, batch/one, oneCost, batchCost)
		singles, batches, ratios = append(singles, one), append(batches, batch), append(ratios, batch/one)
	}
	ratio := report.Median(ratios)
	return []report.Figure{{
		Name:  fmt.Sprintf("PostgreSQL writes in batches of %d over %d connections ÷ one-row transactions over their best %d", postgresBatch, few, many),
		Value: report.Median(batches), Unit: "writes/s", Reference: report.Median(singles), Ratio: ratio, Goal: "ratio ≥ 5", OK: ratio >= 5,
	}}, nil
}

// best searches the number of connections at which writes are fastest.
func (r *postgresRun) best(ctx context.Context, what string, connections []int, write func(context.Context) (int, error)) (best int, err error) {
	fastest := 0.0
	for _, n := range connections {
		got, _, err := r.rate(ctx, n, write)
		if err != nil {
			return 0, err
		}
		fmt.Fprintf(r.Output, "  %s over %d connections: %.0f/s\n", what, n, got)
		if got > fastest {
			best, fastest = n, got
		}
	}
	return best, nil
}

const postgresHash = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2E$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g"

type postgresRun struct {
	*suite
	server *postgrestest.Server
	pool   *pgxpool.Pool
	store  *postgres.Store
	next   atomic.Int64
}

// rate has so many callers write for a while; each write tells how many passwords it set. The cost is the server's
// processor time of one, in µs.
func (r *postgresRun) rate(ctx context.Context, callers int, write func(context.Context) (int, error)) (rate, cost float64, err error) {
	used := r.server.ProcessorTime()
	begun := r.Clock.Now()
	var done atomic.Int64
	errs := make([]error, callers)
	var group sync.WaitGroup
	for i := range callers {
		group.Go(func() {
			for errs[i] == nil && r.Clock.Now().Sub(begun) < postgresTime {
				var n int
				n, errs[i] = write(ctx)
				done.Add(int64(n))
			}
		})
	}
	group.Wait()
	n := float64(done.Load())
	return n / r.Clock.Now().Sub(begun).Seconds(), float64((r.server.ProcessorTime() - used).Microseconds()) / n, errors.Join(errs...)
}

// account spreads over the table as accounts that people reset are; numbers next to each other never collide.
func (r *postgresRun) account(n int64) string { return person(int(n * 7919 % postgresAccounts)) }

func (r *postgresRun) batch(ctx context.Context) (int, error) {
	last := r.next.Add(postgresBatch)
	changes := make([]credstore.Change, postgresBatch)
	for i := range changes {
		n := last - int64(i)
		changes[i] = credstore.Change{
			AccountID: r.account(n), Password: postgresHash, ChangeID: fmt.Sprint("change-", n),
			Sequence: uint64(n), AcceptTime: time.UnixMicro(n),
		}
	}
	results, err := r.store.SetPasswords(ctx, changes)
	for _, got := range results {
		if got.Outcome != credstore.Applied {
			return 0, fmt.Errorf("a change was answered %s", got.Outcome)
		}
	}
	return len(results), err
}

func (r *postgresRun) single(ctx context.Context) (int, error) {
	n := r.next.Add(1)
	var b pgx.Batch
	b.Queue("BEGIN")
	b.Queue(`INSERT INTO surgegate_changes AS c (account_id, sequence, change_id, accept_time) VALUES ($1, $2, $3, $4)
		ON CONFLICT (account_id) DO UPDATE SET sequence = excluded.sequence, change_id = excluded.change_id, accept_time = excluded.accept_time
		WHERE c.sequence < excluded.sequence AND c.change_id <> excluded.change_id`, r.account(n), n, fmt.Sprint("change-", n), time.UnixMicro(n))
	b.Queue("UPDATE users SET password_hash = $2 WHERE id = $1", r.account(n), postgresHash)
	b.Queue("COMMIT")
	return 1, r.pool.SendBatch(ctx, &b).Close()
}

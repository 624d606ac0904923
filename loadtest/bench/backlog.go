package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/surgegate/surgegate/loadtest/testbed"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/credstore/postgres/postgrestest"
)

// backlogOptions says what measureBacklog runs.
type backlogOptions struct {
	Dir       string // for data; emptied by the caller
	Surgegate string // the binary
	Jobs      int    // in line; default 150 000
	Output    io.Writer
	Clock     clock.Clock
}

// backlogFigures are the results of measureBacklog.
type backlogFigures struct {
	Through     float64 // resets applied a second, from 30 % to 95 % of the line
	Whole       float64 // the same over the whole line, finding out included
	OneRow      float64 // resets a second as one-row transactions
	Connections int     // at which these were fastest
	Gateway     float64 // processor time of the gateway for a reset, in µs
	Server      float64 // of the server, for the same
	OneRowCost  float64 // of the server for a one-row transaction
	ClientCost  float64 // of this program for the same, which a site's own backend would have
}

const (
	hash        = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2E$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g"
	backlogTime = 3 * time.Second
	// longest is when a line of Jobs counts as one that does not end.
	longest = 90 * time.Second
)

// connections among which one-row transactions have their best.
func backlogConnections() []int { return []int{16, 32, 64} }

func account(n int) string { return fmt.Sprintf("person-%d@example.com", n) }

// run is one server and what uses it.
type run struct {
	backlogOptions
	server *postgrestest.Server
	pool   *pgxpool.Pool
	next   atomic.Int64
}

// measureBacklog runs surgegate before PostgreSQL with a line of completions, beside what a site would write itself: one transaction
// a reset, over the number of connections at which that is fastest.
//
// Hashing takes 21 ms of a core for each reset and would hide everything else. So fillLine puts completions into the queue of a
// gateway that is not running yet, in the apply lane and sealed with its keys, as the hash lane leaves them. Then the gateway
// starts. The gateway searches its pace while it works, so the rate is taken between 30 % and 95 % of the line. Confirmation mails
// are made and delivered meanwhile. Without PostgreSQL on this machine the error is postgrestest.ErrNotInstalled.
func measureBacklog(ctx context.Context, o backlogOptions) (f backlogFigures, err error) {
	if o.Jobs == 0 {
		o.Jobs = 150_000
	}
	r := &run{backlogOptions: o}
	if r.server, err = postgrestest.New(ctx, postgrestest.Config{Durable: true, Settings: map[string]string{
		"max_wal_size": "4GB", "shared_buffers": "512MB", // neither checkpoints nor misses are what is compared
	}}); err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, r.server.Close()) }()
	if r.pool, err = pgxpool.New(ctx, r.url()+"&pool_max_conns=64"); err != nil {
		return f, err
	}
	defer r.pool.Close()
	if err := r.schema(ctx); err != nil {
		return f, err
	}
	if err := r.oneRow(ctx, &f); err != nil {
		return f, err
	}
	// What the transactions left is not the gateway's: it begins with an empty side table, as a site does.
	if _, err := r.pool.Exec(ctx, "TRUNCATE surgegate_changes; CHECKPOINT"); err != nil {
		return f, err
	}
	return f, r.through(ctx, &f)
}

func (r *run) url() string { return r.server.SocketURL(postgrestest.Superuser, "postgres") }

func (r *run) schema(ctx context.Context) error {
	for _, sql := range []string{
		"CREATE TABLE users (id text PRIMARY KEY, email text NOT NULL UNIQUE, password_hash text)",
		`CREATE TABLE surgegate_changes (account_id text COLLATE "C" PRIMARY KEY, sequence bigint NOT NULL, change_id text NOT NULL,
			accept_time timestamptz NOT NULL) WITH (fillfactor = 70)`,
		fmt.Sprintf("INSERT INTO users SELECT 'person-' || i || '@example.com', 'person-' || i || '@example.com', '%s' FROM generate_series(0, %d) AS i", hash, r.Jobs-1),
		"VACUUM ANALYZE users",
	} {
		if _, err := r.pool.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// oneRow finds the best number of connections and what one-row transactions do over it.
func (r *run) oneRow(ctx context.Context, f *backlogFigures) error {
	for _, n := range backlogConnections() {
		own := processorTime()
		before := r.next.Load()
		rate, cost, err := r.rate(ctx, n)
		if err != nil {
			return err
		}
		client := float64((processorTime() - own).Microseconds()) / float64(r.next.Load()-before)
		fmt.Fprintf(r.Output, "  one-row transactions over %d connections: %.0f/s\n", n, rate)
		if rate > f.OneRow {
			f.OneRow, f.OneRowCost, f.ClientCost, f.Connections = rate, cost, client, n
		}
	}
	return nil
}

// processorTime is what this process has used.
func processorTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (r *run) rate(ctx context.Context, callers int) (rate, cost float64, err error) {
	used, begun := r.server.ProcessorTime(), r.Clock.Now()
	var done atomic.Int64
	errs := make([]error, callers)
	var group sync.WaitGroup
	for i := range callers {
		group.Go(func() {
			for errs[i] == nil && r.Clock.Now().Sub(begun) < backlogTime {
				errs[i] = r.single(ctx)
				done.Add(1)
			}
		})
	}
	group.Wait()
	n := float64(done.Load())
	return n / r.Clock.Now().Sub(begun).Seconds(), float64((r.server.ProcessorTime() - used).Microseconds()) / n, errors.Join(errs...)
}

// single is the transaction that a site would write: one round trip, the side table's row in it.
func (r *run) single(ctx context.Context) error {
	n := r.next.Add(1)
	who := account(int(n * 7919 % int64(r.Jobs))) // spread over the table, and never two at once on one row
	var b pgx.Batch
	b.Queue("BEGIN")
	b.Queue(`INSERT INTO surgegate_changes AS c (account_id, sequence, change_id, accept_time) VALUES ($1, $2, $3, $4)
		ON CONFLICT (account_id) DO UPDATE SET sequence = excluded.sequence, change_id = excluded.change_id, accept_time = excluded.accept_time
		WHERE c.sequence < excluded.sequence AND c.change_id <> excluded.change_id`, who, n, fmt.Sprint("change-", n), time.UnixMicro(n))
	b.Queue("UPDATE users SET password_hash = $2 WHERE id = $1", who, hash)
	b.Queue("COMMIT")
	return r.pool.SendBatch(ctx, &b).Close()
}

// through fills a line, starts the gateway and watches the table.
func (r *run) through(ctx context.Context, f *backlogFigures) error {
	line := backlogLine{DataDir: filepath.Join(r.Dir, "data"), KeysDir: filepath.Join(r.Dir, "keys"), Jobs: r.Jobs, Account: account, Hash: hash}
	if err := os.MkdirAll(r.Dir, 0o750); err != nil {
		return err
	}
	if err := fillLine(ctx, line, r.Clock); err != nil {
		return err
	}
	serverUsed, begun := r.server.ProcessorTime(), r.Clock.Now()
	p, err := testbed.StartGateway(ctx, r.Clock, testbed.GatewayConfig{
		Program: r.Surgegate, Dir: r.Dir, Core: testbed.AnyCore,
		Store: fmt.Sprintf("{postgres: {url: %q, accounts: {table: users}}, headroom: 0}", r.url()),
	})
	if err != nil {
		return err
	}
	defer p.Kill()
	var from time.Time
	for {
		done, err := r.applied(ctx)
		now := r.Clock.Now()
		if err != nil {
			return err
		}
		if from.IsZero() && done >= r.Jobs*3/10 {
			from = now
			f.Through = -float64(done)
		}
		if done >= r.Jobs*95/100 {
			f.Through = (f.Through + float64(done)) / now.Sub(from).Seconds()
			f.Whole = float64(done) / now.Sub(begun).Seconds()
			f.Gateway = float64(p.ProcessorTime().Microseconds()) / float64(done)
			f.Server = float64((r.server.ProcessorTime() - serverUsed).Microseconds()) / float64(done)
			fmt.Fprintf(r.Output, "  processor time of a reset: gateway %.0f µs, PostgreSQL %.0f µs; of a one-row transaction: PostgreSQL %.0f µs, client %.0f µs\n",
				f.Gateway, f.Server, f.OneRowCost, f.ClientCost)
			return nil
		}
		if now.Sub(begun) > longest {
			return fmt.Errorf("backlog: %d of %d applied within %v: %s", done, r.Jobs, longest, p.Output())
		}
		if err := r.Clock.Sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// applied counts the side table's rows. Looked at rarely, because counting them takes the server some 10 ms.
func (r *run) applied(ctx context.Context) (n int, err error) {
	err = r.pool.QueryRow(ctx, "SELECT count(*) FROM surgegate_changes").Scan(&n)
	return n, err
}

package postgres_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/credstore/postgres/postgrestest"
)

const benchAccounts = 100_000

func benchWorld(b *testing.B) *world {
	b.Helper()
	w := newWorld(b, ownServer(b, postgrestest.Config{Durable: true, Settings: map[string]string{"max_wal_size": "4GB", "shared_buffers": "512MB"}}), plainSchema, plainGrants)
	w.users(benchAccounts)
	w.exec("UPDATE users SET password_hash = '" + phc + "'")
	w.exec("INSERT INTO surgegate_changes SELECT id, 0, '', now() FROM users")
	w.exec("VACUUM (ANALYZE) users")
	w.exec("VACUUM (ANALYZE) surgegate_changes")
	return w
}

// benchChange spreads over the table as accounts that people reset are; numbers next to each other never collide.
func benchChange(n int64) credstore.Change {
	return credstore.Change{
		AccountID: fmt.Sprint("a", n*7919%benchAccounts), Password: phc, ChangeID: fmt.Sprint("change-", n), Sequence: uint64(n), AcceptTime: time.UnixMicro(n),
	}
}

// BenchmarkSetPasswords measures changes in batches over 4 connections against its reference in the same run: what a site
// would write itself, a transaction for each with the same side-table write, in one round trip over 64 connections. The
// figure is changes/s; `storm bench --only postgres` searches the reference's best number of connections.
func BenchmarkSetPasswords(b *testing.B) {
	server(b)
	w := benchWorld(b)
	config := w.config()
	config.MaxConnections, config.MaxBatch = 4, 1024
	s := w.open(config)
	pool := w.pool(w.owner.Config().ConnString(), 64)
	var n atomic.Int64
	for _, size := range []int{1, 16, 64, 256, 1024} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			b.SetParallelism(2) // 4 callers on 2 cores
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					last := n.Add(int64(size))
					batch := make([]credstore.Change, size)
					for i := range batch {
						batch[i] = benchChange(last - int64(i))
					}
					results, err := s.SetPasswords(b.Context(), batch)
					if err != nil || results[size-1].Outcome != credstore.Applied {
						b.Error(results, err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "changes/s")
		})
	}
	b.Run("one-row", func(b *testing.B) {
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				c := benchChange(n.Add(1))
				var batch pgx.Batch
				batch.Queue("BEGIN")
				batch.Queue(`INSERT INTO surgegate_changes AS c (account_id, sequence, change_id, accept_time) VALUES ($1, $2, $3, $4)
					ON CONFLICT (account_id) DO UPDATE SET sequence = excluded.sequence, change_id = excluded.change_id, accept_time = excluded.accept_time
					WHERE c.sequence < excluded.sequence AND c.change_id <> excluded.change_id`, c.AccountID, int64(c.Sequence), c.ChangeID, c.AcceptTime)
				batch.Queue("UPDATE users SET password_hash = $2 WHERE id = $1", c.AccountID, phc)
				batch.Queue("COMMIT")
				if err := pool.SendBatch(b.Context(), &batch).Close(); err != nil {
					b.Error(err)
					return
				}
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "changes/s")
	})
}

// BenchmarkLookup measures identifiers/s, half of them hits, in batches against single calls.
func BenchmarkLookup(b *testing.B) {
	server(b)
	w := benchWorld(b)
	s := w.open(w.config())
	for _, size := range []int{1, 256} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			n := 0
			for b.Loop() {
				batch := make([]string, size)
				for i := range batch {
					n++
					batch[i] = fmt.Sprintf("user%d@example.com", n*7919%benchAccounts)
					if n%2 == 0 {
						batch[i] = "nobody@example.com"
					}
				}
				if _, err := s.Lookup(b.Context(), batch, nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "lookups/s")
		})
	}
}

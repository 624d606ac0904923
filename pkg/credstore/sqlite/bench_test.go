package sqlite_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/credstore/sqlite"
)

// BenchmarkSetPasswords measures changes in batches against its reference in the same run, one synced transaction each.
// The figure is changes/s; the ratio of the batch of 256 to the single ones is what a backlog is worth to the store.
func BenchmarkSetPasswords(b *testing.B) {
	const accounts = 16384
	for _, size := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			s := open(b, sqlite.Config{})
			var all []sqlite.Account
			for i := range accounts {
				id := fmt.Sprintf("account-%06d", i)
				all = append(all, sqlite.Account{Login: id, Account: credstore.Account{ID: id, Address: id + "@example.com", CurrentHash: phc}})
			}
			if err := s.PutAccounts(b.Context(), all...); err != nil {
				b.Fatal(err)
			}
			n := 0
			for b.Loop() {
				batch := make([]credstore.Change, size)
				for i := range batch {
					n++
					batch[i] = credstore.Change{
						// Spread over the table as accounts that people reset are.
						AccountID: all[n*7919%accounts].ID, Password: phc, ChangeID: fmt.Sprint("change-", n),
						Sequence: uint64(n), AcceptTime: time.UnixMicro(int64(n)),
					}
				}
				results, err := s.SetPasswords(b.Context(), batch)
				if err != nil || results[size-1].Outcome != credstore.Applied {
					b.Fatal(results, err)
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "changes/s")
		})
	}
}

// BenchmarkLookup measures identifiers/s, half of them hits, in batches against single calls.
func BenchmarkLookup(b *testing.B) {
	const accounts = 16384
	s := open(b, sqlite.Config{})
	var all []sqlite.Account
	for i := range accounts {
		id := fmt.Sprintf("account-%06d", i)
		all = append(all, sqlite.Account{Login: id, Account: credstore.Account{ID: id, Address: id + "@example.com", CurrentHash: phc}})
	}
	if err := s.PutAccounts(b.Context(), all...); err != nil {
		b.Fatal(err)
	}
	for _, size := range []int{1, 256} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			n := 0
			for b.Loop() {
				batch := make([]string, size)
				for i := range batch {
					n++
					batch[i] = all[n*7919%accounts].Address
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

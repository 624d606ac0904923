package bench

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/config"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/queue/embedded"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/seal"
	"github.com/surgegate/surgegate/pkg/token"
)

// What Fill leaves is what a worker expects of the hash lane: sealed with the gateway's keys for this job, a token that
// verifies, a mark over the token's, a hash.
func TestFilledJobsAreWhatWorkersTake(t *testing.T) {
	t.Parallel()
	const jobs = 2*slice + 7 // more than one write, the last not full
	dir := t.TempDir()
	line := backlogLine{DataDir: filepath.Join(dir, "data"), KeysDir: filepath.Join(dir, "keys"), Jobs: jobs, Account: account, Hash: hash}
	if err := fillLine(t.Context(), line, clock.System{}); err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.DataDir, cfg.KeysDir = line.DataDir, line.KeysDir
	engine := cfg.Engine()
	engine.DiskReserve = 1 << 20
	q, err := embedded.Open(engine, embedded.Deps{
		Clock: clock.System{}, Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler), Fatal: func(err error) { t.Error(err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	}()
	stats, err := q.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := stats.Lanes[reset.LaneApply].Waiting[reset.ClassInteractive]; n != jobs {
		t.Fatalf("%d jobs wait in the apply lane, want %d", n, jobs)
	}
	keyring, err := seal.OpenKeyring(line.KeysDir, cfg.Sealing(), clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := token.OpenKeys(line.KeysDir, cfg.Tokens(), clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	leases, err := q.Lease(t.Context(), queue.LeaseRequest{Lane: reset.LaneApply, UpTo: reset.ClassInteractive, Max: 10, Visibility: time.Minute})
	if err != nil || len(leases) != 10 {
		t.Fatalf("%d leases, %v", len(leases), err)
	}
	opener, accounts := seal.NewOpener(keyring, dataKeys{q}), map[string]bool{}
	for _, l := range leases {
		j := l.Job
		plain, err := opener.Open(t.Context(), seal.Binding{
			Job: j.ID, Ticket: j.Ticket, Account: j.Account, Lane: j.Lane, AcceptTime: j.AcceptTime, ExpireTime: j.ExpireTime,
		}, j.Payload)
		if err != nil {
			t.Fatal(err)
		}
		var p reset.CompletionPayload
		if err := p.Unmarshal(plain); err != nil {
			t.Fatal(err)
		}
		claims, err := token.NewVerifier(keys).Verify(p.Token, j.AcceptTime)
		if err != nil {
			t.Fatal(err)
		}
		if claims.AccountID != p.AccountID || keyring.Index().Account(p.AccountID) != j.Account || j.Sequence <= claims.Mark || !p.Hashed || p.Password != hash {
			t.Errorf("job %+v of %q", j.Sequence, p.AccountID)
		}
		accounts[p.AccountID] = true
	}
	if len(accounts) != 10 {
		t.Errorf("10 jobs of %d accounts", len(accounts))
	}
}

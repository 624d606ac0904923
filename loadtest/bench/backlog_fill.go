package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
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

// backlogLine is what fillLine puts into a queue.
type backlogLine struct {
	DataDir, KeysDir string
	Jobs             int
	Account          func(int) string
	Hash             string // PHC string, everybody's
}

const (
	lineFillers = 8
	slice       = 500 // jobs in one durable write
)

// dataKeys keeps wrapped data keys where the gateway looks for them.
type dataKeys struct{ records queue.Records }

func (d dataKeys) PutKey(ctx context.Context, id string, wrapped []byte, expire time.Time) error {
	return d.records.Put(ctx, queue.RecordWrite{Kind: queue.RecordDataKey, Key: id, Value: wrapped, Version: queue.AnyVersion, ExpireTime: expire})
}

func (d dataKeys) GetKey(ctx context.Context, id string) ([]byte, error) {
	r, err := d.records.Get(ctx, queue.RecordDataKey, id)
	return r.Value, err
}

// filler is what completions are made with.
type filler struct {
	line   backlogLine
	clock  clock.Clock
	engine *embedded.Engine
	sealer *seal.Sealer
	signer *token.Signer
	index  *seal.Index
}

// fillLine puts completions into the apply lane of a gateway that does not run. Its keys are made if there are none.
func fillLine(ctx context.Context, l backlogLine, c clock.Clock) (err error) {
	cfg := config.Default()
	cfg.DataDir, cfg.KeysDir = l.DataDir, l.KeysDir
	for _, dir := range []string{l.KeysDir, cfg.Engine().Dir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	keyring, err := seal.OpenKeyring(l.KeysDir, cfg.Sealing(), c)
	if err != nil {
		return err
	}
	keys, err := token.OpenKeys(l.KeysDir, cfg.Tokens(), c)
	if err != nil {
		return err
	}
	f := &filler{line: l, clock: c, index: keyring.Index()}
	if f.signer, err = token.NewSigner(keys); err != nil {
		return err
	}
	engine := cfg.Engine()
	engine.DiskReserve = 1 << 20
	if f.engine, err = embedded.Open(engine, embedded.Deps{
		Clock: c, Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler), Fatal: func(error) {},
	}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.engine.Close()) }()
	f.sealer = seal.NewSealer(keyring, dataKeys{f.engine}, c)
	errs := make([]error, lineFillers)
	var group sync.WaitGroup
	for i := range lineFillers {
		group.Go(func() {
			for at := i * slice; at < l.Jobs && errs[i] == nil; at += lineFillers * slice {
				errs[i] = f.put(ctx, at, min(slice, l.Jobs-at))
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

func (f *filler) put(ctx context.Context, first, n int) error {
	items := make([]queue.Item, n)
	for i := range items {
		var err error
		if items[i], err = f.completion(ctx, f.line.Account(first+i)); err != nil {
			return err
		}
	}
	for _, v := range f.engine.Enqueue(ctx, items) {
		if v.Err != nil {
			return fmt.Errorf("backlog: %w", v.Err)
		}
	}
	return nil
}

// completion is a job as the hash lane hands it on.
func (f *filler) completion(ctx context.Context, account string) (queue.Item, error) {
	now := f.clock.Now().UTC().Truncate(time.Microsecond)
	claims := token.Claims{Purpose: token.PurposeReset, AccountID: account, IssueTime: now, ExpireTime: now.Add(time.Hour)}
	_, _ = rand.Read(claims.Nonce[:]) // never fails
	signed, err := f.signer.Sign(claims)
	if err != nil {
		return queue.Item{}, err
	}
	key := f.index.Account(account)
	job := reset.Job{
		ID: reset.NewID(), Ticket: reset.NewID(), Lane: reset.LaneApply, Class: reset.ClassInteractive, Key: key, Account: key,
		AcceptTime: now, ExpireTime: now.Add(time.Hour),
	}
	payload := reset.CompletionPayload{AccountID: account, Token: signed, Password: f.line.Hash, Hashed: true, SignOut: reset.SignOutKeep, Locale: "en"}
	job.Payload, err = f.sealer.Seal(ctx, seal.AudiencePassword, seal.Binding{
		Job: job.ID, Ticket: job.Ticket, Account: job.Account, Lane: job.Lane, AcceptTime: job.AcceptTime, ExpireTime: job.ExpireTime,
	}, payload.Marshal())
	return queue.Item{Job: job, Mark: &queue.MarkRaise{Account: key, ExpireTime: now.Add(4 * 24 * time.Hour)}}, err
}

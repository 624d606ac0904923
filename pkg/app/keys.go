package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/config"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/seal"
	"github.com/surgegate/surgegate/pkg/token"
)

// keys are the keys of the process, and what renews them.
type keys struct {
	seal     *seal.Keyring
	token    *token.Keys // set by openTokens
	identity *identity   // set by openTokens
	clock    clock.Clock
	log      *slog.Logger
	failures prometheus.Counter
}

func openKeys(cfg config.Config, c clock.Clock, log *slog.Logger, r prometheus.Registerer) (*keys, error) {
	if err := os.MkdirAll(cfg.KeysDir, 0o700); err != nil {
		return nil, fmt.Errorf("keys_dir: %w", err)
	}
	info, err := os.Stat(cfg.KeysDir)
	if err != nil {
		return nil, fmt.Errorf("keys_dir: %w", err)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("keys_dir: others can write to %s, and so put keys of their own there: chmod go-w %s", cfg.KeysDir, cfg.KeysDir)
	}
	k := &keys{clock: c, log: log, failures: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "surgegate_key_maintenance_failures_total", Help: "Times that keys could not be renewed or deleted in time.",
	})}
	if err := r.Register(k.failures); err != nil {
		return nil, err
	}
	if k.seal, err = seal.OpenKeyring(cfg.KeysDir, cfg.Sealing(), c); err != nil {
		return nil, fmt.Errorf("keys_dir: %w", err)
	}
	return k, nil
}

// openTokens opens the token keys. It makes new ones if the queue is not the one that they were used with.
func (k *keys) openTokens(ctx context.Context, records queue.Records, cfg config.Config) (err error) {
	if k.identity, err = openIdentity(ctx, cfg.KeysDir, records, k.log); err != nil {
		return err
	}
	if k.token, err = token.OpenKeys(cfg.KeysDir, cfg.Tokens(), k.clock); err != nil {
		return fmt.Errorf("keys_dir: %w", err)
	}
	return nil
}

// bind refuses the secrets of another installation. With another index secret the marks in the queue would not be found, so used
// links would work again; with another tickets secret all tickets would be unknown. Secrets that
// are absent have been made anew, so a lost or mistyped keys_dir is refused too and does not look like a first start.
func (k *keys) bind(ctx context.Context, records queue.Records, cfg config.Config) error {
	index := k.seal.Index().Identifier("\x00surgegate: which index secret") // no identifier holds a control character
	for _, secret := range []struct {
		name, file, loss string
		print            []byte
	}{
		{"index", "index.secret", "links that were used would be good again", index[:]},
		{"tickets", "tickets.secret", "no ticket that was handed out would be known", []byte(k.seal.Tickets().Seal(reset.Ref{}))},
	} {
		r, err := records.Get(ctx, queue.RecordKeys, secret.name)
		switch {
		case errors.Is(err, queue.ErrNotFound):
			err = records.Put(ctx, queue.RecordWrite{Kind: queue.RecordKeys, Key: secret.name, Value: secret.print})
			if err != nil {
				return fmt.Errorf("keys_dir: %w", err)
			}
		case err != nil:
			return fmt.Errorf("keys_dir: %w", err)
		case !bytes.Equal(r.Value, secret.print):
			return fmt.Errorf("keys_dir: %s is not the one that the queue in %s was begun with, so %s: put the right file back, "+
				"or, to give up what waits, remove the queue folder and %s and start anew",
				filepath.Join(cfg.KeysDir, "seal", secret.file), cfg.Engine().Dir, secret.loss, filepath.Join(cfg.KeysDir, "token"))
		}
	}
	return nil
}

// run makes new keys and deletes expired ones, until ctx ends.
func (k *keys) run(ctx context.Context) {
	for k.clock.Sleep(ctx, keyMaintenance) == nil {
		now := k.clock.Now()
		for name, maintain := range map[string]func() error{
			"seal":  func() error { return k.seal.Maintain(now) },
			"token": func() error { return k.token.Maintain(now) },
			"queue": func() error { return k.identity.beat(ctx) },
		} {
			if err := maintain(); err != nil {
				k.failures.Inc()
				k.log.Error("keys could not be maintained; tried again soon", "keys", name, "error", err)
			}
		}
	}
}

// MakeKeys makes the keys of a first start in dir. It keeps files that exist.
func MakeKeys(dir string) error {
	cfg := config.Default()
	cfg.KeysDir = dir
	if _, err := openKeys(cfg, clock.System{}, slog.New(slog.DiscardHandler), prometheus.NewRegistry()); err != nil {
		return err
	}
	_, err := token.OpenKeys(cfg.KeysDir, cfg.Tokens(), clock.System{})
	return err
}

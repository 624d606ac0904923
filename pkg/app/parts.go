package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/app/internal/reload"
	"github.com/surgegate/surgegate/pkg/config"
	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/credstore/grpcstore"
	"github.com/surgegate/surgegate/pkg/credstore/postgres"
	"github.com/surgegate/surgegate/pkg/credstore/sqlite"
	"github.com/surgegate/surgegate/pkg/decision"
	"github.com/surgegate/surgegate/pkg/dispatch"
	"github.com/surgegate/surgegate/pkg/edge"
	"github.com/surgegate/surgegate/pkg/hashpool"
	"github.com/surgegate/surgegate/pkg/mail"
	"github.com/surgegate/surgegate/pkg/mail/maildir"
	"github.com/surgegate/surgegate/pkg/mail/smtp"
	"github.com/surgegate/surgegate/pkg/operator"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/policy"
	"github.com/surgegate/surgegate/pkg/queue/embedded"
	"github.com/surgegate/surgegate/pkg/resetapi"
	"github.com/surgegate/surgegate/pkg/seal"
	"github.com/surgegate/surgegate/pkg/stormlog"
	"github.com/surgegate/surgegate/pkg/token"
	"github.com/surgegate/surgegate/pkg/version"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// parts are what gate and dispatch need.
type parts struct {
	admission *admission.Admission
	policy    *policy.Policy
	verifier  *token.Verifier
	signer    *token.Signer
	sealer    *seal.Sealer
	opener    *seal.Opener
	hashes    *hashpool.Pool
	store     credstore.Store
	revoker   credstore.Revoker
	mailer    mail.Sender
	templates *mail.Templates
	pacers    dispatch.Pacers
}

// files are the shares of the limit of open files.
type files struct{ tables, connections int }

const (
	// ownFiles is for the logs of the queue, the connections of store and mail, the keys, and 64 connections each of the operator
	// and HTTP listeners.
	ownFiles = 256
	// leastFiles leaves 128 files for tables and 128 for callers.
	leastFiles = 512
)

// shareFiles gives the queue's tables up to a quarter of the limit, and callers what is left. Without it callers could open so many
// connections that the queue has no file left to write to, which would end the process.
func shareFiles(limit uint64, connections int) (files, error) {
	if limit < leastFiles {
		return files{}, fmt.Errorf("the limit of open files is %d: raise it to %d or more (ulimit -n, LimitNOFILE)", limit, leastFiles)
	}
	limit = min(limit, 1<<30) // unlimited
	tables := min(1000, int(limit)/4)
	left := int(limit) - ownFiles - tables
	return files{tables: tables, connections: min(connections, left)}, nil
}

func (a *App) limitFiles() (err error) {
	var limit syscall.Rlimit // Go has raised the soft limit to the hard one
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("the limit of open files: %w", err)
	}
	if a.files, err = shareFiles(limit.Cur, a.cfg.Server.MaxConnections); err != nil {
		return err
	}
	if a.files.connections < a.cfg.Server.MaxConnections {
		a.log.Warn("server.max_connections is more than the limit of open files allows: raise that (ulimit -n, LimitNOFILE)",
			"max_connections", a.cfg.Server.MaxConnections, "allowed", a.files.connections, "limit", limit.Cur)
	}
	return nil
}

// edgeConfig returns the configuration of the edge, within the limit of open files.
func (a *App) edgeConfig() edge.Config {
	c := a.cfg.Edge()
	c.MaxConnections = a.files.connections
	return c
}

func (a *App) openQueue(context.Context) error {
	cfg := a.cfg.Engine()
	cfg.MaxOpenFiles = a.files.tables
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	engine, err := embedded.Open(cfg, embedded.Deps{
		Clock: a.clock, Registerer: a.registry, Logger: a.log, Fatal: a.fail, OnJobEnd: a.promise.Ended,
	})
	if err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	a.onClose(engine.Close)
	a.queue = engine
	return nil
}

func (a *App) openParts(ctx context.Context) (err error) {
	p := &a.parts
	if p.admission, err = admission.New(a.cfg.Admit(), admission.Deps{
		Registerer: a.registry, Logger: a.log, Clock: a.clock, Explain: a.decided.On(decision.Shed) || a.decided.On(decision.Limited),
	}); err != nil {
		return err
	}
	if p.policy, err = policy.New(a.cfg.Passwords()); err != nil {
		return err
	}
	a.onClose(p.policy.Close)
	if p.hashes, err = hashpool.New(a.cfg.HashPool(), hashpool.Deps{Registerer: a.registry, Clock: a.clock}); err != nil {
		return err
	}
	p.verifier = token.NewVerifier(a.keys.token)
	if p.signer, err = token.NewSigner(a.keys.token); err != nil {
		return fmt.Errorf("keys_dir: %w: put its file back, or remove %s: links that were mailed are void then",
			err, filepath.Join(a.cfg.KeysDir, "token"))
	}
	p.sealer = seal.NewSealer(a.keys.seal, dataKeys{a.queue}, a.clock)
	p.opener = seal.NewOpener(a.keys.seal, dataKeys{a.queue})
	if p.templates, err = mail.NewTemplates(a.cfg.Templates()); err != nil {
		return err
	}
	if err := a.openStore(ctx, p); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := a.openMail(p); err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	// Every store is also the revoker, so the revoker has the pacer of the store: there is one pacer for each real downstream.
	if p.pacers.Store, err = a.cfg.StorePacer(); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if p.pacers.Mail, err = a.cfg.MailPacer(); err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	p.pacers.HashPool, err = pace.NewFixed(pace.Config{Concurrency: p.hashes.Slots(), Batch: 1})
	return err
}

func (a *App) openStore(ctx context.Context, p *parts) error {
	switch {
	case a.cfg.Store.SQLite != nil:
		c := a.cfg.Store.SQLite
		if err := os.MkdirAll(filepath.Dir(c.Path), 0o700); err != nil {
			return err
		}
		s, err := sqlite.New(ctx, sqlite.Config{Path: c.Path, Sample: c.Sample})
		if err != nil {
			return err
		}
		p.store, p.revoker = s, s
	case a.cfg.Store.Postgres != nil:
		if a.cfg.Store.Postgres.Insecure {
			a.log.Warn("store.postgres.insecure: identifiers and hashes may go to a server that is not the one meant")
		}
		s, err := postgres.New(ctx, a.cfg.PostgresStore(), postgres.Deps{Clock: a.clock, Logger: a.log})
		if err != nil {
			return err
		}
		p.store, p.revoker = s, s
	default:
		c := a.cfg.Store.GRPC
		if c.Insecure && !config.Loopback(c.Address) {
			a.log.Warn("store.grpc.insecure: identifiers and hashes go to the store over an open line", "address", c.Address)
		}
		s, err := grpcstore.New(grpcstore.Config{
			Address: c.Address, Insecure: c.Insecure, CAFile: c.CA, CertFile: c.Cert, KeyFile: c.Key,
		})
		if err != nil {
			return err
		}
		p.store, p.revoker = s, s
	}
	a.onClose(p.store.Close)
	return nil
}

func (a *App) openMail(p *parts) (err error) {
	c := a.cfg.Mail
	if c.Maildir != nil {
		p.mailer, err = maildir.New(maildir.Config{Path: c.Maildir.Path, From: c.From}, maildir.Deps{Clock: a.clock})
	} else {
		if mode := smtp.TLSMode(c.SMTP.TLS); (mode == smtp.TLSNone || mode == smtp.TLSOpportunistic) && !config.Loopback(c.SMTP.Address) {
			a.log.Warn("mail.smtp.tls: links that set passwords may go over an open line", "tls", c.SMTP.TLS, "address", c.SMTP.Address)
		}
		p.mailer, err = smtp.New(a.cfg.Relay(), smtp.Deps{Clock: a.clock})
	}
	if err != nil {
		return err
	}
	a.onClose(p.mailer.Close)
	return nil
}

// openOperator makes the operators' service and the reloader, and puts into force what was overridden when the last process
// ended.
func (a *App) openOperator(ctx context.Context) (err error) {
	if a.operator, err = operator.New(operator.Deps{
		Queue: a.queue, Gate: a.gate, Work: a.dispatch, Admission: a.parts.admission, Level: a.held,
		MaxStartWait: a.cfg.Queue.MaxStartWait.Std(), MaxSealedWait: a.cfg.Queue.MaxSealedWait.Std(),
		Disk:    func() operator.Disk { return operator.Disk{Available: a.level.free.Load(), Reserve: a.level.reserve} },
		Process: a.starvation.Status, Reload: a.reload, IsDraining: func() bool { return a.server.Draining() }, Version: version.Current().String(),
		Registerer: a.registry, Logger: a.log, Clock: a.clock,
	}); err != nil {
		return err
	}
	if err := a.operator.Load(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	a.reloader, err = reload.New(a.cfg, reload.Deps{
		Load: a.options.Reload, Reconfigure: a.operator.Reconfigure, Apply: a.reconfigure, Logger: a.log, Registerer: a.registry,
	})
	return err
}

// reconfigure puts the hot keys of a configuration into force. After an error a part of it may be in force; then call it again with
// the configuration before.
func (a *App) reconfigure(c config.Config) error {
	if err := errors.Join(a.operator.SetRules(c.Admit()), a.reconfigureWork(c)); err != nil {
		return err
	}
	ladder := c.Ladder()
	a.level.next.Store(&ladder)
	a.logLevel.Set(logLevel(c.Log))
	return nil
}

func (a *App) reconfigureWork(c config.Config) error {
	if err := a.dispatch.CanReconfigure(c.Work()); err != nil {
		return err
	}
	store, err := c.StorePacer()
	if err != nil {
		return err
	}
	mail, err := c.MailPacer()
	if err != nil {
		return err
	}
	if err := a.dispatch.ReconfigurePacers(dispatch.Pacers{Store: store, Mail: mail}); err != nil {
		return err
	}
	return a.dispatch.Reconfigure(c.Work())
}

func (a *App) reload(ctx context.Context, by operator.Caller, dryRun bool) (out []*operatorv1.ConfigChange, err error) {
	changes, err := a.reloader.Reload(ctx, by, dryRun)
	for _, c := range changes {
		out = append(out, &operatorv1.ConfigChange{Key: c.Key, Before: c.Before, After: c.After})
	}
	return out, err
}

// reloadOnHangup reloads after each SIGHUP. The result is in the log.
func (a *App) reloadOnHangup(ctx context.Context) {
	for {
		select {
		case <-a.options.Hangup:
			_, _ = a.reloader.Reload(ctx, operator.Caller{Who: "SIGHUP"}, false) // it logs what came of it
		case <-ctx.Done():
			return
		}
	}
}

// record begins a recording and returns its observer; nil without a file.
func (a *App) record(path string) (func(resetapi.Observed), error) {
	if path == "" {
		return nil, nil // nobody observes
	}
	r, err := stormlog.NewRecorder(stormlog.RecorderConfig{Path: path, MinFree: max(1, 2*int64(a.cfg.Queue.DiskReserve))}, stormlog.RecorderDeps{Clock: a.clock, Logger: a.log, Registerer: a.registry})
	if errors.Is(err, stormlog.ErrNoRoom) {
		a.log.Error("not recording: the disk has no room to spare", "error", err.Error())
		return nil, nil // nobody observes
	}
	if err != nil {
		return nil, err
	}
	a.onClose(r.Close)
	a.log.Info("recording public calls as a storm log, without identifiers", "file", path)
	ops := map[string]stormlog.Op{
		"StartReset": stormlog.OpStart, "CheckToken": stormlog.OpCheck, "CompleteReset": stormlog.OpComplete, "GetTicket": stormlog.OpTicket,
	}
	return func(o resetapi.Observed) {
		r.Observe(stormlog.Call{At: o.At, Op: ops[o.Method], Key: o.Key, Attempt: o.Attempt, Deadline: o.Deadline})
	}, nil
}

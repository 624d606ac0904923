package app

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/config"
	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/credstore/grpcstore"
	"github.com/surgegate/surgegate/pkg/credstore/sqlite"
	"github.com/surgegate/surgegate/pkg/dispatch"
	"github.com/surgegate/surgegate/pkg/hashpool"
	"github.com/surgegate/surgegate/pkg/mail"
	"github.com/surgegate/surgegate/pkg/mail/maildir"
	"github.com/surgegate/surgegate/pkg/mail/smtp"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/policy"
	"github.com/surgegate/surgegate/pkg/queue/embedded"
	"github.com/surgegate/surgegate/pkg/seal"
	"github.com/surgegate/surgegate/pkg/token"
)

// parts are what gate and dispatch are made of.
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

func (a *App) openQueue() (*embedded.Engine, error) {
	cfg := a.cfg.Engine()
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("data_dir: %w", err)
	}
	engine, err := embedded.Open(cfg, embedded.Deps{Clock: a.clock, Registerer: a.registry, Logger: a.log, Fatal: a.fail})
	if err != nil {
		return nil, fmt.Errorf("queue: %w", err)
	}
	a.onClose(engine.Close)
	return engine, nil
}

func (a *App) openParts(ctx context.Context) (p parts, err error) {
	if p.admission, err = admission.New(a.cfg.Admit(), admission.Deps{Registerer: a.registry, Logger: a.log, Clock: a.clock}); err != nil {
		return p, err
	}
	if p.policy, err = policy.New(a.cfg.Passwords()); err != nil {
		return p, err
	}
	a.onClose(p.policy.Close)
	if p.hashes, err = hashpool.New(a.cfg.HashPool(), hashpool.Deps{Registerer: a.registry, Clock: a.clock}); err != nil {
		return p, err
	}
	p.verifier = token.NewVerifier(a.keys.token)
	if p.signer, err = token.NewSigner(a.keys.token); err != nil {
		return p, err
	}
	p.sealer = seal.NewSealer(a.keys.seal, dataKeys{a.queue}, a.clock)
	p.opener = seal.NewOpener(a.keys.seal, dataKeys{a.queue})
	if p.templates, err = mail.NewTemplates(a.cfg.Templates()); err != nil {
		return p, err
	}
	if err := a.openStore(ctx, &p); err != nil {
		return p, fmt.Errorf("store: %w", err)
	}
	if err := a.openMail(&p); err != nil {
		return p, fmt.Errorf("mail: %w", err)
	}
	for _, d := range []struct {
		pacer *pace.Pacer
		cfg   pace.Config
	}{
		{&p.pacers.Store, a.cfg.StorePace()},
		{&p.pacers.Revoker, a.cfg.StorePace()},
		{&p.pacers.Mail, a.cfg.MailPace()},
		{&p.pacers.HashPool, pace.Config{Concurrency: p.hashes.Slots(), Batch: 1}},
	} {
		if *d.pacer, err = pace.NewFixed(d.cfg); err != nil {
			return p, err
		}
	}
	return p, nil
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
		p.mailer, err = smtp.New(smtp.Config{
			Address: c.SMTP.Address, From: c.From, TLS: smtp.TLSMode(c.SMTP.TLS), Insecure: a.cfg.Insecure,
			Username: c.SMTP.Username, PasswordFile: c.SMTP.PasswordFile, Connections: c.SMTP.Connections, Timeout: c.Timeout.Std(),
		}, smtp.Deps{Clock: a.clock})
	}
	if err != nil {
		return err
	}
	a.onClose(p.mailer.Close)
	return nil
}

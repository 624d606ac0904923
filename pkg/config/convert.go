package config

import (
	"path/filepath"
	"slices"
	"time"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/credstore/postgres"
	"github.com/surgegate/surgegate/pkg/decision"
	"github.com/surgegate/surgegate/pkg/dispatch"
	"github.com/surgegate/surgegate/pkg/edge"
	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/hashpool"
	"github.com/surgegate/surgegate/pkg/mail"
	"github.com/surgegate/surgegate/pkg/mail/smtp"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/policy"
	"github.com/surgegate/surgegate/pkg/promise"
	"github.com/surgegate/surgegate/pkg/queue/embedded"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/seal"
	"github.com/surgegate/surgegate/pkg/token"
	"github.com/surgegate/surgegate/pkg/tracing/otlp"
)

// Edge is the configuration of edge.
func (c Config) Edge() edge.Config {
	tls := edge.TLS{CertFile: c.TLS.Cert, KeyFile: c.TLS.Key, ClientCAFile: c.TLS.ClientCA}
	return edge.Config{
		GRPC: edge.Listener{Address: c.Listen.GRPC, TLS: tls, Insecure: c.Insecure},
		Operator: edge.Listener{
			Address:  c.Listen.Operator,
			TLS:      edge.TLS{CertFile: c.Operator.Cert, KeyFile: c.Operator.Key, ClientCAFile: c.Operator.ClientCA},
			Insecure: c.Insecure,
		},
		// Scrapers and probes have no client certificates, so the authorities of callers are not asked of them.
		HTTP: edge.Listener{
			Address:  c.Listen.HTTP,
			TLS:      edge.TLS{CertFile: c.TLS.Cert, KeyFile: c.TLS.Key},
			Insecure: c.Insecure,
		},
		TrustedCallers:       append([]string{}, c.Trust.Callers...),
		OperatorTokensFile:   c.Operator.TokensFile,
		MaxConnections:       c.Server.MaxConnections,
		MaxConcurrentStreams: c.Server.MaxStreams,
		MaxConnectionAge:     c.Server.MaxConnectionAge.Std(),
	}
}

// Accept is the configuration of gate.
func (c Config) Accept() gate.Config {
	return gate.Config{MaxStartWait: c.Queue.MaxStartWait.Std(), MaxSealedWait: c.Queue.MaxSealedWait.Std()}
}

// Work is the configuration of dispatch.
func (c Config) Work() dispatch.Config {
	signOut := reset.SignOutEverywhere
	if c.Reset.SignOut == "keep" {
		signOut = reset.SignOutKeep
	}
	return dispatch.Config{
		StoreTimeout:  c.Store.Timeout.Std(),
		RevokeTimeout: c.Store.Timeout.Std(),
		MailTimeout:   c.Mail.Timeout.Std(),
		LinkTTL:       c.Token.TTL.Std(),
		SignOut:       signOut,
		Identifier:    dispatch.Budget{Mails: c.Admission.Identifier.Rate.Count, Per: c.Admission.Identifier.Rate.Per, Burst: c.Admission.Identifier.Burst},
		Account:       dispatch.Budget{Mails: c.Mail.AccountCap, Per: 24 * time.Hour, Burst: c.Mail.AccountCap},
		Recipient:     dispatch.Budget{Mails: c.Mail.AccountCap, Per: 24 * time.Hour, Burst: c.Mail.AccountCap},
		MailBudget:    c.mailBudget(),
		Weights: map[reset.Lane]float64{
			reset.LaneStart: c.Lanes.Start.Weight, reset.LaneMail: c.Lanes.Mail.Weight, reset.LaneHash: c.Lanes.Hash.Weight,
			reset.LaneApply: c.Lanes.Apply.Weight, reset.LaneRevoke: c.Lanes.Revoke.Weight,
		},
		Floors: map[reset.Lane]float64{
			reset.LaneStart: c.Store.Pace.Floor,
			reset.LaneApply: c.Store.Pace.Floor,
			reset.LaneMail:  c.Mail.Pace.Floor,
		},
		Promise:    c.Reset.Promise.Std(),
		DrainGrace: c.Shutdown.Grace.Std(),

		LogDownstreamText: c.Log.DownstreamText,
	}
}

// mailBudget keeps what nobody waits for within its share of the pace.
func (c Config) mailBudget() dispatch.MailBudget {
	bulk := c.Mail.Bulk.Rate
	if share := c.Mail.Bulk.Share * c.Mail.Pace.Rate; share > 0 && (bulk == 0 || share < bulk) {
		bulk = share
	}
	return dispatch.MailBudget{
		Interactive: dispatch.MailRate{PerSecond: c.Mail.Interactive.Rate},
		Bulk:        dispatch.MailRate{PerSecond: bulk},
		BulkShare:   c.Mail.Bulk.Share,
	}
}

// Admit is the configuration of admission.
func (c Config) Admit() admission.Config {
	dry := func(rule string) bool { return slices.Contains(c.Admission.DryRun, rule) }
	return admission.Config{
		Global:     admission.Rule{Rate: c.Admission.Global.Rate, Burst: c.Admission.Global.Burst, DryRun: dry("global")},
		Client:     admission.Rule{Rate: c.Admission.Client.Rate, Burst: c.Admission.Client.Burst, DryRun: dry("client")},
		ShedDryRun: dry("level"),
		MaxKeys:    c.Admission.MaxKeys,
	}
}

// Promise is the configuration of promise.
func (c Config) Promise() promise.Config { return promise.Config{Within: c.Reset.Promise.Std()} }

// Ladder is the configuration of the brownout ladder.
func (c Config) Ladder() admission.LadderConfig {
	b := c.Brownout
	return admission.LadderConfig{
		Wait: b.Wait.Std(), WaitShare: steps(b.WaitShare), QueueFill: steps(b.QueueFill), DiskFill: steps(b.DiskFill),
		HeapFill: steps(b.HeapFill), CPUDelay: delays(b.CPUDelay), Release: b.Release, Hold: b.Hold.Std(),
	}
}

func steps(list []float64) (s admission.Steps) {
	copy(s[:], list)
	return s
}

// delays are steps in seconds.
func delays(list []Duration) (s admission.Steps) {
	for i, d := range list[:min(len(list), len(s))] {
		s[i] = d.Std().Seconds()
	}
	return s
}

// HashPool is the configuration of hashpool.
func (c Config) HashPool() hashpool.Config {
	return hashpool.Config{
		Slots:     c.Hash.Slots,
		ArgonKiB:  uint32(max(0, min(c.Hash.Memory>>10, 1<<31))),
		ArgonTime: uint32(max(0, min(c.Hash.Time, 1<<31))),
	}
}

// Passwords is the configuration of policy.
func (c Config) Passwords() policy.Config {
	return policy.Config{
		SecondFactor:  c.Password.SecondFactor,
		BlocklistFile: c.Password.BlocklistFile,
		BreachedFile:  c.Password.BreachedFile,
	}
}

// Sealing is the configuration of seal for a process that makes its own keys.
func (c Config) Sealing() seal.Config {
	return seal.Config{Create: true, LongestWait: c.Queue.MaxSealedWait.Std()}
}

// Tokens is the configuration of token for a process that makes its own keys.
func (c Config) Tokens() token.Config {
	return token.Config{Create: true, LongestWait: c.Queue.MaxSealedWait.Std()}
}

// Engine is the configuration of the embedded queue.
func (c Config) Engine() embedded.Config {
	return embedded.Config{
		Dir:         filepath.Join(c.DataDir, "queue"),
		MaxBytes:    uint64(c.Queue.MaxBytes),
		DiskReserve: uint64(c.Queue.DiskReserve), // never negative: Bytes cannot be written so
		Retention:   c.Queue.Retention.Std(),
	}
}

// Templates is the configuration of the mails' texts.
func (c Config) Templates() mail.TemplateConfig {
	return mail.TemplateConfig{BaseURL: c.Mail.BaseURL, SiteName: c.Mail.SiteName}
}

// Relay is the configuration of mail/smtp; mail.smtp must be there.
func (c Config) Relay() smtp.Config {
	s := c.Mail.SMTP
	return smtp.Config{
		Address: s.Address, From: c.Mail.From, TLS: smtp.TLSMode(s.TLS), Insecure: c.Insecure, CAFile: s.CA,
		Username: s.Username, PasswordFile: s.PasswordFile, Connections: s.Connections, Timeout: c.Mail.Timeout.Std(),
	}
}

func (p *Postgres) store() postgres.Config {
	return postgres.Config{
		URL: p.URL, PasswordFile: p.PasswordFile, Insecure: p.Insecure, MaxConnections: p.MaxConnections, MaxBatch: p.MaxBatch,
		LockTimeout: p.LockTimeout.Std(), HashSchemes: p.HashSchemes,
		Accounts: postgres.Accounts{
			Schema: p.Accounts.Schema, Table: p.Accounts.Table, ID: p.Accounts.ID, Identifiers: p.Accounts.Identifiers,
			FoldCase: p.Accounts.FoldCase, Address: p.Accounts.Address, Hash: p.Accounts.Hash, ShareHash: p.Accounts.ShareHash,
			Locale: p.Accounts.Locale, NotResettable: p.Accounts.NotResettable, PasswordTime: p.Accounts.PasswordTime,
		},
		Changes:    postgres.Changes{Schema: p.Changes.Schema, Table: p.Changes.Table, Create: p.Changes.Create},
		Sessions:   postgres.Sessions{Schema: p.Sessions.Schema, Table: p.Sessions.Table, AccountID: p.Sessions.AccountID, Begun: p.Sessions.Begun},
		Statements: postgres.Statements(p.Statements),
	}
}

// Decide is the configuration of decision.
func (c Config) Decide() decision.Config {
	reasons := []decision.Reason{}
	for _, name := range c.Log.Decisions {
		reasons = append(reasons, decision.Reason(name))
	}
	return decision.Config{Reasons: reasons}
}

// Traces is the configuration of tracing/otlp; trace.endpoint must be there.
func (c Config) Traces() otlp.Config {
	return otlp.Config{Endpoint: c.Trace.Endpoint, Insecure: c.Trace.Insecure, CAFile: c.Trace.CA, Ratio: &c.Trace.Sample}
}

// PostgresStore is the configuration of credstore/postgres.
func (c Config) PostgresStore() postgres.Config {
	p := c.Store.Postgres.store()
	p.CallTimeout = c.Store.Timeout.Std()
	return p
}

// StorePacer decides how fast the store is fed, with the headroom left for its other callers.
func (c Config) StorePacer() (pace.Pacer, error) {
	return c.Store.Pace.pacer(c.Store.Headroom, c.Store.connections())
}

// MailPacer decides how fast the mail provider is fed. One message is one call.
func (c Config) MailPacer() (pace.Pacer, error) {
	p := c.Mail.Pace
	p.Batch = 1
	return p.pacer(0, c.Mail.connections())
}

// connections is how many calls at once find one; 0: as many as there are.
func (s Store) connections() int {
	if s.Postgres == nil {
		return 0
	}
	return s.Postgres.MaxConnections
}

func (m Mail) connections() int {
	if m.SMTP == nil {
		return 0
	}
	return m.SMTP.Connections
}

// pacer of a downstream that cannot take more calls at once than it has connections; 0: it has as many as there are calls.
func (p Pace) pacer(headroom float64, connections int) (pace.Pacer, error) {
	if share := 1 - headroom; p.Concurrency > 0 {
		return pace.NewFixed(pace.Config{
			Concurrency: max(1, int(float64(p.Concurrency)*share)), Rate: p.Rate * share, Batch: p.Batch,
		})
	}
	most := p.Max
	if most == 0 {
		most = connections
	}
	return pace.NewChart(pace.ChartConfig{
		Min: p.Min, Max: most, Headroom: headroom, Rate: p.Rate * (1 - headroom), Batch: p.Batch,
	})
}

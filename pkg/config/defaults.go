package config

import (
	"math"
	"path/filepath"
	"time"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/decision"
	"github.com/surgegate/surgegate/pkg/dispatch"
	"github.com/surgegate/surgegate/pkg/edge"
	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/hashpool"
	"github.com/surgegate/surgegate/pkg/mail"
	"github.com/surgegate/surgegate/pkg/mail/smtp"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/promise"
	"github.com/surgegate/surgegate/pkg/queue/embedded"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/tracing/otlp"
)

// Default returns the configuration of an empty file. Where a package has the default, it is the package's own.
func Default() Config {
	front := edge.Config{}.WithDefaults()
	accept := gate.Config{}.WithDefaults()
	work := dispatch.Config{}.WithDefaults()
	admit := admission.Config{}.WithDefaults()
	hash := hashpool.Config{}.WithDefaults()
	engine := embedded.Config{}.WithDefaults()
	ladder := admission.LadderConfig{}.WithDefaults()
	lane := func(l reset.Lane) Lane { return Lane{Weight: work.Weights[l]} }
	return Config{
		Role:    "all",
		DataDir: "./data",
		KeysDir: "./keys",
		Listen:  Listen{GRPC: front.GRPC.Address, Operator: front.Operator.Address, HTTP: front.HTTP.Address},
		Trust:   Trust{Callers: front.TrustedCallers},
		Server: Server{
			MaxConnections:   front.MaxConnections,
			MaxStreams:       front.MaxConcurrentStreams,
			MaxConnectionAge: Duration(front.MaxConnectionAge),
		},
		Queue: Queue{
			Engine:        "embedded",
			MaxBytes:      Bytes(engine.MaxBytes),
			DiskReserve:   Bytes(engine.DiskReserve),
			Retention:     Duration(engine.Retention),
			MaxStartWait:  Duration(accept.MaxStartWait),
			MaxSealedWait: Duration(accept.MaxSealedWait),
		},
		Store: Store{
			Headroom: 0.2,
			Pace:     Pace{Min: pace.ChartConfig{}.WithDefaults().Min, Floor: work.Floors[reset.LaneStart]},
			Timeout:  Duration(work.StoreTimeout),
		},
		Mail: Mail{
			BaseURL:    "http://127.0.0.1:8080",
			SiteName:   mail.TemplateConfig{}.WithDefaults().SiteName,
			From:       "no-reply@localhost",
			Pace:       Pace{Min: pace.ChartConfig{}.WithDefaults().Min, Floor: work.Floors[reset.LaneMail]},
			Bulk:       BulkMail{Share: work.MailBudget.BulkShare},
			Timeout:    Duration(work.MailTimeout),
			AccountCap: work.Account.Mails,
		},
		Lanes: Lanes{
			Start: lane(reset.LaneStart), Mail: lane(reset.LaneMail), Hash: lane(reset.LaneHash),
			Apply: lane(reset.LaneApply), Revoke: lane(reset.LaneRevoke),
		},
		Brownout: Brownout{
			Wait: Duration(ladder.Wait), WaitShare: ladder.WaitShare[:], QueueFill: ladder.QueueFill[:], DiskFill: ladder.DiskFill[:],
			HeapFill: ladder.HeapFill[:], CPUDelay: durations(ladder.CPUDelay), Release: ladder.Release, Hold: Duration(ladder.Hold),
		},
		Admission: Admission{
			Global:     bucket(admit.Global),
			Client:     bucket(admit.Client),
			Identifier: Bucket{Rate: admission.Rate{Count: work.Identifier.Mails, Per: work.Identifier.Per}, Burst: work.Identifier.Burst},
			MaxKeys:    admit.MaxKeys,
		},
		Hash:     Hash{Memory: Bytes(hash.ArgonKiB) << 10, Time: int(hash.ArgonTime), Slots: 0},
		Token:    Token{TTL: Duration(work.LinkTTL)},
		Reset:    Reset{Promise: Duration(promise.Config{}.WithDefaults().Within), SignOut: "everywhere"},
		Log:      Log{Level: "info", Format: "text", Decisions: decisions(decision.Config{}.WithDefaults().Reasons)},
		Trace:    Trace{Sample: *otlp.Config{}.WithDefaults().Ratio},
		Shutdown: Shutdown{Grace: Duration(work.DrainGrace)},
	}
}

func decisions(reasons []decision.Reason) (names []string) {
	for _, r := range reasons {
		names = append(names, string(r))
	}
	return names
}

func bucket(r admission.Rule) Bucket { return Bucket{Rate: r.Rate, Burst: r.Burst} }

// complete fills what follows from other keys.
func (c *Config) complete() {
	if s := c.Store.SQLite; s != nil && s.Path == "" {
		s.Path = filepath.Join(c.DataDir, "store.db")
	}
	if s := c.Store.Postgres; s != nil {
		s.SetDefaults()
	}
	if m := c.Mail.Maildir; m != nil && m.Path == "" {
		m.Path = filepath.Join(c.DataDir, "mail")
	}
	if s := c.Mail.SMTP; s != nil {
		d := smtp.Config{}.WithDefaults()
		if s.TLS == "" {
			s.TLS = string(d.TLS)
		}
		if s.Connections == 0 {
			s.Connections = d.Connections
		}
	}
}

// SetDefaults fills in what is zero with the package's own defaults.
func (p *Postgres) SetDefaults() {
	d := p.store().WithDefaults()
	p.MaxConnections, p.MaxBatch, p.LockTimeout, p.HashSchemes = d.MaxConnections, d.MaxBatch, Duration(d.LockTimeout), d.HashSchemes
	p.Accounts.ID, p.Accounts.Address, p.Accounts.Hash = d.Accounts.ID, d.Accounts.Address, d.Accounts.Hash
	p.Changes.Table = d.Changes.Table
	p.Sessions.AccountID, p.Sessions.Begun = d.Sessions.AccountID, d.Sessions.Begun
	p.Statements.IDs = d.Statements.IDs
}

// durations are steps that are in seconds.
func durations(s admission.Steps) (list []Duration) {
	for _, at := range s {
		list = append(list, Duration(math.Round(at*float64(time.Second))))
	}
	return list
}

package victim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/credstore/grpcstore"
	"github.com/surgegate/surgegate/pkg/credstore/postgres"
	credstorev1 "github.com/surgegate/surgegate/proto/surgegate/credstore/v1"
)

const (
	table        = "storm_accounts"
	startTimeout = 10 * time.Second // to connect and look at the schema
)

// PostgresConfig says which database to serve. Zero fields mean the defaults.
type PostgresConfig struct {
	Address      string // host:port to listen at; required
	URL          string // postgres://role@host:port/database, without a password; required
	PasswordFile string // default: the PostgreSQL environment (PGPASSWORD, PGPASSFILE)
	Insecure     bool   // a database off this machine may be called without verifying it
	Init         bool   // make tables and accounts that are missing
	Accounts     int    // that Init makes; default the simulated victim's
	MaxSetBatch  int    // as Describe tells; default the reference implementation's
}

// WithDefaults returns the config with its zero fields set.
func (c PostgresConfig) WithDefaults() PostgresConfig {
	if c.Accounts == 0 {
		c.Accounts = Config{}.WithDefaults().Accounts
	}
	return c
}

// Validate names the field that makes no sense.
func (c PostgresConfig) Validate() error {
	switch {
	case c.Address == "":
		return errors.New("pgstore: Address is missing")
	case c.Accounts < 1:
		return fmt.Errorf("pgstore: Accounts is %d; it must be at least 1", c.Accounts)
	}
	if err := c.postgres().Validate(); err != nil {
		return fmt.Errorf("pgstore: %w", err)
	}
	return nil
}

func (c PostgresConfig) postgres() postgres.Config {
	return postgres.Config{
		URL: c.URL, PasswordFile: c.PasswordFile, Insecure: c.Insecure, MaxBatch: c.MaxSetBatch,
		Accounts: postgres.Accounts{Table: table}, Changes: postgres.Changes{Create: c.Init},
	}
}

// PostgresDeps are what a Postgres needs.
type PostgresDeps struct {
	Clock  clock.Clock  // default: the system's
	Logger *slog.Logger // default: none
}

// Postgres is the victim that is not simulated: a CredentialStore v1 server before a real PostgreSQL, by the reference implementation
// in pkg/credstore/postgres. Its accounts have the ids and identifiers of the simulated victim, so that the same storms fit both: table
// storm_accounts (id, email, password_hash) and surgegate_changes, in the role's search_path. Make it with NewPostgres.
type Postgres struct {
	store    *postgres.Store
	listener net.Listener
	server   *grpc.Server
}

// NewPostgres makes missing tables and accounts if Init says so, checks the schema, and listens. Init leaves alone what is there, so it
// can be repeated, with more accounts too. Without Init a missing table or privilege is an error that says how to make or grant it. ctx
// bounds only this call.
func NewPostgres(ctx context.Context, cfg PostgresConfig, deps PostgresDeps) (*Postgres, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Init {
		if err := fillPostgres(ctx, cfg); err != nil {
			return nil, err
		}
	}
	checking, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	store, err := postgres.New(checking, cfg.postgres(), postgres.Deps{Clock: deps.Clock, Logger: deps.Logger})
	if err != nil {
		return nil, fmt.Errorf("pgstore: %s is not ready; its tables are made with --init: %w", cfg.postgres().Where(), err)
	}
	if _, err := store.Describe(checking); err != nil {
		return nil, errors.Join(fmt.Errorf("pgstore: %s cannot be used: %w", cfg.postgres().Where(), err), store.Close())
	}
	listener, err := net.Listen("tcp", cfg.Address)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("pgstore: %w", err), store.Close())
	}
	s := &Postgres{store: store, listener: listener, server: grpc.NewServer(grpc.WaitForHandlers(true))}
	credstorev1.RegisterCredentialStoreServer(s.server, grpcstore.NewServer(store))
	return s, nil
}

// Addr returns the address that the store listens on.
func (s *Postgres) Addr() string { return s.listener.Addr().String() }

// Run serves until ctx ends.
func (s *Postgres) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, s.server.Stop)
	defer stop()
	return errors.Join(s.server.Serve(s.listener), s.store.Close())
}

// fill makes the accounts' table and those that are missing; the changes' table makes the reference implementation.
func fillPostgres(ctx context.Context, cfg PostgresConfig) (err error) {
	where := cfg.postgres().Where()
	conn, err := connect(ctx, cfg)
	if err != nil {
		return fmt.Errorf("pgstore: %s cannot be reached: %w", where, err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	for _, statement := range []struct {
		what, sql string
		args      []any
	}{
		{"make the table", "CREATE TABLE IF NOT EXISTS " + table + " (id text PRIMARY KEY, email text NOT NULL UNIQUE, password_hash text)", nil},
		{
			"make the accounts", "INSERT INTO " + table + " (id, email) SELECT format($1, i), format($2, i) FROM generate_series(0, $3::bigint - 1) AS i ON CONFLICT DO NOTHING",
			[]any{strings.TrimSuffix(AccountID(0), "0") + "%s", strings.Replace(IdentifierFormat, "%d", "%s", 1), cfg.Accounts},
		},
		{"analyze the table", "ANALYZE " + table, nil},
	} {
		if _, err := conn.Exec(ctx, statement.sql, statement.args...); err != nil {
			return fmt.Errorf("pgstore: cannot %s %s in %s: %w", statement.what, table, where, err)
		}
	}
	return nil
}

func connect(ctx context.Context, cfg PostgresConfig) (*pgx.Conn, error) {
	conn, err := pgx.ParseConfig(cfg.URL)
	if err != nil {
		return nil, err
	}
	if cfg.PasswordFile != "" {
		password, err := os.ReadFile(cfg.PasswordFile)
		if err != nil {
			return nil, err
		}
		conn.Password = string(bytes.TrimRight(password, "\r\n"))
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return pgx.ConnectConfig(ctx, conn)
}

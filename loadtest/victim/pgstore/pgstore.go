package pgstore

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

	"github.com/surgegate/surgegate/loadtest/victim"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/credstore/grpcstore"
	"github.com/surgegate/surgegate/pkg/credstore/postgres"
	credstorev1 "github.com/surgegate/surgegate/proto/surgegate/credstore/v1"
)

const (
	table        = "storm_accounts"
	startTimeout = 10 * time.Second // to connect and look at the schema
)

// Config of a Store. Zero fields mean the defaults.
type Config struct {
	Address      string // host:port to listen at; required
	URL          string // postgres://role@host:port/database, without a password; required
	PasswordFile string // default: the PostgreSQL environment (PGPASSWORD, PGPASSFILE)
	Insecure     bool   // a database off this machine may be called without verifying it
	Init         bool   // make tables and accounts that are missing
	Accounts     int    // that Init makes; default the simulated victim's
	MaxSetBatch  int    // as Describe tells; default the reference implementation's
}

// WithDefaults fills zero fields.
func (c Config) WithDefaults() Config {
	if c.Accounts == 0 {
		c.Accounts = victim.Config{}.WithDefaults().Accounts
	}
	return c
}

// Validate names the field that makes no sense.
func (c Config) Validate() error {
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

func (c Config) postgres() postgres.Config {
	return postgres.Config{
		URL: c.URL, PasswordFile: c.PasswordFile, Insecure: c.Insecure, MaxBatch: c.MaxSetBatch,
		Accounts: postgres.Accounts{Table: table}, Changes: postgres.Changes{Create: c.Init},
	}
}

// Deps of a Store.
type Deps struct {
	Clock  clock.Clock  // default: the system's
	Logger *slog.Logger // default: none
}

// Store serves. Make it with New, and Run it.
type Store struct {
	store    *postgres.Store
	listener net.Listener
	server   *grpc.Server
}

// New does what Init says, checks the schema, and listens. ctx bounds only that.
func New(ctx context.Context, cfg Config, deps Deps) (*Store, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Init {
		if err := fill(ctx, cfg); err != nil {
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
	s := &Store{store: store, listener: listener, server: grpc.NewServer(grpc.WaitForHandlers(true))}
	credstorev1.RegisterCredentialStoreServer(s.server, grpcstore.NewServer(store))
	return s, nil
}

// Addr is where it listens.
func (s *Store) Addr() string { return s.listener.Addr().String() }

// Run serves until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, s.server.Stop)
	defer stop()
	return errors.Join(s.server.Serve(s.listener), s.store.Close())
}

// fill makes the accounts' table and those that are missing; the changes' table makes the reference implementation.
func fill(ctx context.Context, cfg Config) (err error) {
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
			[]any{strings.TrimSuffix(victim.AccountID(0), "0") + "%s", strings.Replace(victim.IdentifierFormat, "%d", "%s", 1), cfg.Accounts},
		},
		{"analyze the table", "ANALYZE " + table, nil},
	} {
		if _, err := conn.Exec(ctx, statement.sql, statement.args...); err != nil {
			return fmt.Errorf("pgstore: cannot %s %s in %s: %w", statement.what, table, where, err)
		}
	}
	return nil
}

func connect(ctx context.Context, cfg Config) (*pgx.Conn, error) {
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

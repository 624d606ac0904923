// Package pgstore is a victim that is a real PostgreSQL: a CredentialStore v1 server with pkg/credstore/postgres behind it,
// over accounts named as the victim's. What falls over here is the database itself, as its own limits make it.
//
// With Init it makes the table storm_accounts and its accounts, as far as they are missing, and surgegate's side table
// storm_changes; without, both must be there. Nothing of the database is dropped or emptied, ever.
package pgstore

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/surgegate/surgegate/loadtest/victim"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/credstore/grpcstore"
	"github.com/surgegate/surgegate/pkg/credstore/postgres"
	credstorev1 "github.com/surgegate/surgegate/proto/surgegate/credstore/v1"
)

// Config of a store.
type Config struct {
	Address     string // host:port of the CredentialStore; required
	URL         string // of the database, without a password; required
	Init        bool   // make what is missing
	Accounts    int    // with Init; default that of the victim
	Connections int    // to the database; default that of the adapter
}

// Validate names the field that makes no sense.
func (c Config) Validate() error {
	if c.Address == "" || c.URL == "" {
		return errors.New("pgstore: Address or URL is missing")
	}
	if c.Accounts < 0 || c.Connections < 0 {
		return fmt.Errorf("pgstore: Accounts is %d and Connections %d; neither may be below 0", c.Accounts, c.Connections)
	}
	return nil
}

const accountsTable, changesTable = "storm_accounts", "storm_changes"

// Store is one that listens. Make it with New; Run serves.
type Store struct {
	listener net.Listener
	store    *postgres.Store
}

// New makes what is missing, if it is told to, looks at the schema, and listens.
func New(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Accounts == 0 {
		cfg.Accounts = victim.Config{}.WithDefaults().Accounts
	}
	if cfg.Init {
		if err := initialise(ctx, cfg); err != nil {
			return nil, err
		}
	}
	store, err := postgres.New(ctx, postgres.Config{
		URL: cfg.URL, MaxConnections: cfg.Connections,
		Accounts: postgres.Accounts{Table: accountsTable, Address: "email"},
		Changes:  postgres.Changes{Table: changesTable, Create: cfg.Init},
	}, postgres.Deps{Clock: clock.System{}})
	if err != nil {
		return nil, fmt.Errorf("pgstore: %w (--init makes the tables)", err)
	}
	listener, err := net.Listen("tcp", cfg.Address)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("pgstore: %w", err), store.Close())
	}
	return &Store{listener: listener, store: store}, nil
}

// initialise makes the accounts that are missing, in one statement.
func initialise(ctx context.Context, cfg Config) error {
	conn, err := pgx.Connect(ctx, cfg.URL)
	if err != nil {
		return fmt.Errorf("pgstore: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // everything is committed
	if _, err := conn.Exec(ctx, "CREATE TABLE IF NOT EXISTS "+accountsTable+
		" (id text PRIMARY KEY, email text NOT NULL UNIQUE, password_hash text)"); err != nil {
		return fmt.Errorf("pgstore: make %s: %w", accountsTable, err)
	}
	// Names are victim.AccountID's and victim.Identifier's.
	if _, err := conn.Exec(ctx, "INSERT INTO "+accountsTable+" (id, email) SELECT $1 || n, replace($2, '%d', n::text) FROM generate_series(0, $3::int - 1) AS n ON CONFLICT DO NOTHING",
		victim.AccountPrefix, victim.IdentifierFormat, cfg.Accounts); err != nil {
		return fmt.Errorf("pgstore: make %d accounts: %w", cfg.Accounts, err)
	}
	return nil
}

// Address is where it listens.
func (s *Store) Address() string { return s.listener.Addr().String() }

// Run serves until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	server := grpc.NewServer(grpc.WaitForHandlers(true))
	credstorev1.RegisterCredentialStoreServer(server, grpcstore.NewServer(s.store))
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	err := server.Serve(s.listener)
	if err != nil {
		err = fmt.Errorf("pgstore: %w", err)
	}
	return errors.Join(err, s.store.Close())
}

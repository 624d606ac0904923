package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/credstore"
)

var (
	_ credstore.Store   = (*Store)(nil)
	_ credstore.Revoker = (*Store)(nil)
)

// Deps are what a Store needs beside its configuration. The zero value of each field means a default.
type Deps struct {
	// Clock tells how much of a deadline is left. Default: the machine's, which is what contexts go by.
	Clock clock.Clock
	// Logger gets what is worth knowing at the start and no reason to refuse it. Default: none.
	Logger *slog.Logger
}

// Store is a PostgreSQL database. It is safe for concurrent use.
type Store struct {
	config Config
	clock  clock.Clock
	log    *slog.Logger
	pool   *pgxpool.Pool
	plan   atomic.Pointer[plan] // nil until the schema has been seen
	asking chan struct{}        // held by the one call that looks at the schema
	told   atomic.Bool          // the warnings were logged
}

// New checks the configuration, connects, and checks the schema. What the schema lacks is an error that wraps
// credstore.ErrConfig; a server that is away is none, so that surgegate starts while it is. ctx bounds the start.
func New(ctx context.Context, config Config, deps Deps) (*Store, error) {
	config = config.WithDefaults()
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("postgres: %w: %w", credstore.ErrConfig, err)
	}
	if deps.Clock == nil {
		deps.Clock = clock.System{}
	}
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{config: config, clock: deps.Clock, log: deps.Logger, asking: make(chan struct{}, 1)}
	pool, err := config.pool()
	if err != nil {
		return nil, fmt.Errorf("postgres: %w: %w", credstore.ErrConfig, err)
	}
	s.hooks(pool)
	if s.pool, err = pgxpool.NewWithConfig(ctx, pool); err != nil {
		return nil, fmt.Errorf("postgres: %w: url: cannot be used (%T)", credstore.ErrConfig, err)
	}
	if _, err := s.inspect(ctx); errors.Is(err, credstore.ErrConfig) || err != nil && ctx.Err() != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// pingTimeout bounds the look at a connection that was idle for a second: it may lead to a server that has gone.
const pingTimeout = 2 * time.Second

// cancelGrace is how long a cancelled statement may take to say so before its connection is given up.
const cancelGrace = time.Second

func (s *Store) hooks(c *pgxpool.Config) {
	c.PingTimeout = pingTimeout
	c.MaxConnIdleTime = 5 * time.Minute // the site's connections are few, and a storm is not always
	c.MaxConnLifetimeJitter = 6 * time.Minute
	if s.config.PasswordFile != "" {
		c.BeforeConnect = func(_ context.Context, conn *pgx.ConnConfig) error {
			password, err := os.ReadFile(s.config.PasswordFile)
			if err != nil {
				return fmt.Errorf("postgres: %w: password_file: %w", credstore.ErrConfig, err)
			}
			conn.Password = string(bytes.TrimRight(password, "\r\n"))
			return nil
		}
	}
	// A statement is parsed once for each connection, before the transaction that sets its own bounds begins; parsing waits
	// for a table that is being altered too.
	c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, fmt.Sprintf("SET lock_timeout = %s; SET statement_timeout = %s",
			milliseconds(s.config.LockTimeout), milliseconds(s.config.CallTimeout)))
		return err
	}
	// Without this a cancelled call closes its connection, and the server works on for nobody.
	c.ConnConfig.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: cancelGrace}
	}
}

// Describe implements credstore.Store. It runs every statement for no items, so it is also a sign of life.
func (s *Store) Describe(ctx context.Context) (credstore.Description, error) {
	err := s.alive(ctx)
	if errors.Is(err, credstore.ErrConfig) {
		_, err = s.inspect(ctx) // which finds the words, or what has changed
	}
	if err != nil {
		return credstore.Description{}, err
	}
	d := credstore.Description{
		Form:           credstore.FormHash,
		MaxLookupBatch: s.config.MaxBatch,
		MaxSetBatch:    s.config.MaxBatch,
		HashSchemes:    append([]string(nil), s.config.HashSchemes...),
	}
	if s.config.revokes() {
		d.MaxRevokeBatch = s.config.MaxBatch
	}
	return d, nil
}

// alive runs the plan's statements for no items, in one round trip: a table, a column or a privilege that is gone shows.
// The first time it looks at the schema instead.
func (s *Store) alive(ctx context.Context) error {
	p := s.plan.Load()
	if p == nil {
		_, err := s.inspect(ctx)
		return err
	}
	return s.with(ctx, "describe", func(c call) error {
		var b pgx.Batch
		c.open(&b)
		for _, ask := range p.statements() {
			args := make([]any, ask.params)
			for i := range args {
				args[i] = "{}" // an empty array of any type
			}
			b.Queue(ask.sql, args...)
		}
		b.Queue(rollback)
		return c.send(&b)
	})
}

// Close waits for calls under way and closes the connections.
func (s *Store) Close() error {
	s.pool.Close()
	return nil
}

// ready returns the plan, looking at the schema first where nobody has.
func (s *Store) ready(ctx context.Context) (*plan, error) {
	if p := s.plan.Load(); p != nil {
		return p, nil
	}
	return s.inspect(ctx)
}

// longestCall keeps a far deadline within what PostgreSQL's settings hold.
const longestCall = 24 * time.Hour

// call is one connection for the time of one call.
type call struct {
	ctx     context.Context // it lives as long as the call
	conn    *pgxpool.Conn
	timeout time.Duration // of each statement
	lock    time.Duration
}

// with runs f with a connection and leaves that usable, or closes it.
func (s *Store) with(ctx context.Context, what string, f func(call) error) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = s.clock.Now().Add(s.config.CallTimeout)
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	if err := ctx.Err(); err != nil {
		return wrap(ctx, what, err)
	}
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return wrap(ctx, what, err)
	}
	defer conn.Release()
	begun := s.clock.Now()
	c := call{ctx: ctx, conn: conn, timeout: statementTimeout(min(deadline.Sub(begun), longestCall)), lock: s.config.LockTimeout}
	err = f(c)
	if err != nil {
		c.clean(err)
	}
	var e *pgconn.PgError
	if errors.As(err, &e) && e.Code == codeCanceled && ctx.Err() == nil && s.clock.Now().Sub(begun) >= c.timeout.Truncate(time.Millisecond) {
		// The server, whose settings are milliseconds, was a moment ahead of the context, as it should be.
		return timedOut(fmt.Errorf("postgres: %s: %w: %w (SQLSTATE %s)", what, credstore.ErrOverloaded, context.DeadlineExceeded, e.Code))
	}
	return wrap(ctx, what, err)
}

// statementTimeout leaves a tenth of the time, at most 100 ms, for the server's answer to arrive before the context ends:
// then the connection stays good, and nothing has to be cancelled.
func statementTimeout(left time.Duration) time.Duration {
	return max(time.Millisecond, left-min(left/10, 100*time.Millisecond))
}

// clean ends a transaction that an error has left open, and a connection that leads to the wrong place. Within a second:
// Release gives up what is not clean.
func (c call) clean(err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), cancelGrace)
	defer cancel()
	switch conn := c.conn.Conn(); {
	case conn.IsClosed():
	case stale(err):
		_ = conn.Close(ctx) // closed either way
	case conn.PgConn().TxStatus() != 'I':
		_, _ = conn.Exec(ctx, rollback) // Release looks at the status again
	}
}

// open queues the begin of a transaction within the call's bounds.
func (c call) open(b *pgx.Batch) {
	b.Queue(begin)
	b.Queue(bounds, milliseconds(c.timeout), milliseconds(min(c.lock, c.timeout)))
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(max(1, d.Milliseconds()), 10) }

// send sends what is queued in one round trip.
func (c call) send(b *pgx.Batch) error { return c.conn.SendBatch(c.ctx, b).Close() }

// transact runs what is queued in one transaction and one round trip.
func (s *Store) transact(ctx context.Context, what string, queue func(*pgx.Batch)) error {
	return s.with(ctx, what, func(c call) error {
		var b pgx.Batch
		c.open(&b)
		queue(&b)
		b.Queue(commit)
		return c.send(&b)
	})
}

// ended is for calls that are answered without asking.
func ended(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return wrap(ctx, "call", err)
	}
	return nil
}

package postgres

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Config says where the accounts are. The zero value of each field means the default that its comment names.
type Config struct {
	// URL is postgres://role@host:port/database?sslmode=verify-full&…, without a password. Required. What it leaves out
	// comes from the PostgreSQL environment (PGHOST, PGSSLROOTCERT, …).
	URL string
	// PasswordFile holds the role's password; it is read for each new connection, so that it can be rotated. Default: the
	// PostgreSQL environment (PGPASSWORD, PGPASSFILE, ~/.pgpass).
	PasswordFile string
	// Insecure allows a connection off loopback whose server is not verified. Default false.
	Insecure bool
	// MaxConnections bounds the pool. Default 16, at most 1000.
	MaxConnections int
	// MaxBatch is the most items of one call, of each kind. Default 256, at most 4096.
	MaxBatch int
	// CallTimeout bounds calls whose context has no deadline, and connecting where the URL does not. Default 10 s.
	CallTimeout time.Duration
	// LockTimeout is how long to wait for a table that is being altered; rows are never waited for. Default 1 s.
	LockTimeout time.Duration
	// HashSchemes are the PHC ids that the site verifies, best first. Default argon2id, 2b.
	HashSchemes []string
	Accounts    Accounts
	Changes     Changes
	Sessions    Sessions
	Statements  Statements
}

// Accounts names the accounts' table and its columns.
type Accounts struct {
	// Schema is where the table is. Default: the role's search_path.
	Schema string
	// Table is required where a statement does not stand for it.
	Table string
	// ID is the column of the account id: text, an integer or a uuid, with a unique index. Default id.
	ID string
	// Identifiers are the columns in which what people type is looked for. Default: Address.
	Identifiers []string
	// FoldCase compares identifiers by lower(column), which wants an index on that. Default false.
	FoldCase bool
	// Address is the column of the mail address. Default email.
	Address string
	// Hash is the column of the PHC string. Default password_hash.
	Hash string
	// ShareHash lets surgegate read the current hash, so that a reset can refuse the old password. Default false.
	ShareHash bool
	// Locale and NotResettable (boolean) are columns. Default: none.
	Locale, NotResettable string
	// PasswordTime is a timestamptz column of the password's last change: one after a reset was accepted supersedes it. A
	// reset writes its accept time there. Default: none.
	PasswordTime string
}

// Changes names surgegate's own table.
type Changes struct {
	// Schema is where it is. Default: the role's search_path.
	Schema string
	// Table defaults to surgegate_changes.
	Table string
	// Create makes it at the start if it is missing. Default false.
	Create bool
}

// Sessions names the sessions' table; without it surgegate cannot revoke.
type Sessions struct {
	Schema, Table string
	// AccountID is the column of the account's id. Default account_id.
	AccountID string
	// Begun is the timestamptz column of when a session began. Default created_at.
	Begun string
}

// Statements stand for what the tables would give; doc.go has their parameters and result columns.
type Statements struct {
	Lookup, LookupIDs, Lock, Set, Revoke string
	// IDs is how account ids look: text, integer or uuid. Others are misses without asking. Default text.
	IDs string
}

// WithDefaults fills in what is zero.
func (c Config) WithDefaults() Config {
	orInt(&c.MaxConnections, 16)
	orInt(&c.MaxBatch, 256)
	if c.CallTimeout == 0 {
		c.CallTimeout = 10 * time.Second
	}
	if c.LockTimeout == 0 {
		c.LockTimeout = time.Second
	}
	if len(c.HashSchemes) == 0 {
		c.HashSchemes = []string{"argon2id", "2b"}
	}
	orText(&c.Accounts.ID, "id")
	orText(&c.Accounts.Address, "email")
	orText(&c.Accounts.Hash, "password_hash")
	if len(c.Accounts.Identifiers) == 0 {
		c.Accounts.Identifiers = []string{c.Accounts.Address}
	}
	orText(&c.Changes.Table, "surgegate_changes")
	orText(&c.Sessions.AccountID, "account_id")
	orText(&c.Sessions.Begun, "created_at")
	orText(&c.Statements.IDs, "text")
	return c
}

func orInt(v *int, def int) {
	if *v == 0 {
		*v = def
	}
}

func orText(v *string, def string) {
	if *v == "" {
		*v = def
	}
}

// Validate names the first field that cannot be used. It reads the files that the URL names, and connects to nothing.
func (c Config) Validate() error {
	c = c.WithDefaults()
	switch s := c.Statements; {
	case c.MaxConnections < 1 || c.MaxConnections > 1000:
		return fmt.Errorf("max_connections: %d is not between 1 and 1000", c.MaxConnections)
	case c.MaxBatch < 1 || c.MaxBatch > 4096:
		return fmt.Errorf("max_batch: %d is not between 1 and 4096", c.MaxBatch)
	case c.CallTimeout < 10*time.Millisecond || c.CallTimeout > 10*time.Minute:
		return fmt.Errorf("call_timeout: %v is not between 10ms and 10m", c.CallTimeout)
	case c.LockTimeout < time.Millisecond || c.LockTimeout > time.Minute:
		return fmt.Errorf("lock_timeout: %v is not between 1ms and 1m", c.LockTimeout)
	case (s.Lock == "") != (s.Set == ""):
		return errors.New("statements.set: needs statements.lock, and lock needs it: write both or none")
	case c.mapped() && c.Accounts.Table == "":
		return errors.New("accounts.table: name the accounts' table, or write statements for lookup, lookup_ids, lock and set")
	case !slices.Contains([]string{"text", "integer", "uuid"}, s.IDs):
		return fmt.Errorf("statements.ids: %q is unknown: write text, integer or uuid", s.IDs)
	case s.Revoke != "" && c.Sessions.Table != "":
		return errors.New("statements.revoke: stands beside sessions.table: keep one")
	}
	for _, n := range c.names() {
		if strings.ContainsRune(n.value, 0) || len(n.value) > 63 {
			return fmt.Errorf("%s: %.80q is no name that PostgreSQL can have: at most 63 bytes", n.field, n.value)
		}
	}
	for _, scheme := range c.HashSchemes {
		if scheme == "" {
			return errors.New("hash_schemes: an entry is empty")
		}
	}
	_, err := c.pool()
	return err
}

// mapped tells whether the accounts' table is needed.
func (c Config) mapped() bool {
	s := c.Statements
	return s.Lookup == "" || s.LookupIDs == "" || s.Set == ""
}

func (c Config) revokes() bool { return c.Sessions.Table != "" || c.Statements.Revoke != "" }

type name struct{ field, value string }

func (c Config) names() []name {
	a := c.Accounts
	out := []name{
		{"accounts.schema", a.Schema}, {"accounts.table", a.Table}, {"accounts.id", a.ID}, {"accounts.address", a.Address},
		{"accounts.hash", a.Hash}, {"accounts.locale", a.Locale}, {"accounts.not_resettable", a.NotResettable},
		{"accounts.password_time", a.PasswordTime}, {"changes.schema", c.Changes.Schema}, {"changes.table", c.Changes.Table},
		{"sessions.schema", c.Sessions.Schema}, {"sessions.table", c.Sessions.Table},
		{"sessions.account_id", c.Sessions.AccountID}, {"sessions.begun", c.Sessions.Begun},
	}
	for _, i := range a.Identifiers {
		out = append(out, name{"accounts.identifiers", i})
	}
	return out
}

// Where is host:port/database, for people.
func (c Config) Where() string {
	p, err := c.pool()
	if err != nil {
		return "?"
	}
	conn := p.ConnConfig
	return fmt.Sprintf("%s:%d/%s", conn.Host, conn.Port, conn.Database)
}

// pool is the pool's configuration without its hooks. Errors never quote the URL: somebody may have put a password there.
func (c Config) pool() (*pgxpool.Config, error) {
	u, err := url.Parse(c.URL)
	switch {
	case c.URL == "":
		return nil, errors.New("url: is required: write such as postgres://surgegate@db.internal:5432/app?sslmode=verify-full")
	case err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql":
		return nil, errors.New("url: is no URL: write such as postgres://surgegate@db.internal:5432/app?sslmode=verify-full")
	}
	if _, given := u.User.Password(); given || u.Query().Has("password") {
		return nil, errors.New("url: holds a password: put it into a file and name that in password_file")
	}
	p, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		return nil, errors.New("url: cannot be used: see that its host, port and options are PostgreSQL's and that the files it names can be read")
	}
	if !c.Insecure {
		if err := verified(&p.ConnConfig.Config); err != nil {
			return nil, err
		}
	}
	p.MaxConns = int32(c.MaxConnections)
	if !u.Query().Has("connect_timeout") {
		p.ConnConfig.ConnectTimeout = c.CallTimeout
	}
	if p.ConnConfig.RuntimeParams["application_name"] == "" {
		p.ConnConfig.RuntimeParams["application_name"] = "surgegate"
	}
	return p, nil
}

// verified refuses to send identifiers and hashes to a host that is not known to be the one meant. sslmode=prefer, the
// default, falls back to plain text; require takes any certificate.
func verified(c *pgconn.Config) error {
	hosts := []*pgconn.FallbackConfig{{Host: c.Host, TLSConfig: c.TLSConfig}}
	for _, h := range append(hosts, c.Fallbacks...) {
		if network, _ := pgconn.NetworkAddress(h.Host, 1); network == "unix" || h.Host == "localhost" {
			continue
		}
		if a, err := netip.ParseAddr(h.Host); err == nil && a.IsLoopback() {
			continue
		}
		if t := h.TLSConfig; t == nil || t.InsecureSkipVerify && t.VerifyPeerCertificate == nil && t.VerifyConnection == nil {
			return errors.New("url: goes off this machine without verifying the server: write sslmode=verify-full and sslrootcert=FILE, or insecure: true")
		}
	}
	return nil
}

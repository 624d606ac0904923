package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/failure"
)

// columnTypes are the types of the mapped columns.
type columnTypes struct {
	kind    idKind
	casts   map[string]string // by column of the accounts' table, as SQL
	schemas map[string]string // of the types, by column
	session string            // of the sessions' account id
}

func (t columnTypes) of(column string) string { return t.casts[column] }

// equal is the operator that compares the column. That of an extension's type is named with its schema: where the role's
// search_path leaves that out, "=" would quietly compare citext as text.
func (t columnTypes) equal(column string) string {
	if schema := t.schemas[column]; schema != "pg_catalog" {
		return "OPERATOR(" + quoted(schema) + ".=)"
	}
	return "="
}

// column is what the catalog tells of one.
type column struct {
	schema, name                   string // of its type; of a domain's base type
	length                         int    // of a bounded varchar; -1
	unique                         bool
	mayRead, mayInsert, mayUpdate  bool
	mayDelete, isTable, rowSecured bool // of its table
}

func (c column) cast() string { return quoted(c.schema, c.name) }

// shown is the type as people write it.
func (c column) shown() string {
	if c.schema == "pg_catalog" {
		return c.name
	}
	return c.schema + "." + c.name
}

// inspect looks at the schema and makes the plan. What is missing wraps credstore.ErrConfig, all of it at once.
func (s *Store) inspect(ctx context.Context) (*plan, error) {
	select {
	case s.asking <- struct{}{}:
		defer func() { <-s.asking }()
	case <-ctx.Done():
		return nil, wrap(ctx, "check", ctx.Err())
	}
	var p *plan
	err := s.with(ctx, "check", func(c call) error {
		i := inspection{call: c, config: s.config}
		if err := i.look(); err != nil {
			return err
		}
		if len(i.findings) > 0 {
			findings := errors.Join(i.findings...)
			return &failure.Error{
				Scope: failure.Downstream, Class: failure.Config, Code: codeSchema, Advice: strings.ReplaceAll(findings.Error(), "\n", "; "),
				Err: fmt.Errorf("postgres: %w: %w", credstore.ErrConfig, findings),
			}
		}
		p = i.plan
		if len(i.warnings) > 0 && s.told.CompareAndSwap(false, true) {
			for _, w := range i.warnings {
				s.log.Warn("postgres: " + w)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.plan.Store(p)
	return p, nil
}

// inspection is one look at the schema.
type inspection struct {
	call
	config   Config
	role     string
	types    columnTypes
	plan     *plan
	findings []error
	warnings []string
}

func (i *inspection) find(format string, args ...any) {
	i.findings = append(i.findings, fmt.Errorf(format, args...))
}

// look returns an error only where it could not look.
func (i *inspection) look() error {
	if err := i.conn.QueryRow(i.ctx, "SELECT current_user").Scan(&i.role); err != nil {
		return err
	}
	i.types = columnTypes{casts: map[string]string{}, schemas: map[string]string{}}
	for _, part := range []func() error{i.accounts, i.changes, i.sessions, i.given} {
		if err := part(); err != nil {
			return err
		}
	}
	if len(i.findings) > 0 {
		return nil
	}
	i.plan = build(i.config, i.types)
	return i.try()
}

// columns reads the catalog; nil where there is no such table, or the role may not see it.
func (i *inspection) columns(field, table string) (map[string]column, error) {
	rows, err := i.conn.Query(i.ctx, `SELECT a.attname, n.nspname, t.typname,
	CASE WHEN t.typname IN ('varchar', 'bpchar') THEN CASE d.typtype WHEN 'd' THEN d.typtypmod ELSE a.atttypmod END - 4 ELSE -1 END,
	EXISTS (SELECT FROM pg_catalog.pg_index AS i WHERE i.indrelid = c.oid AND i.indisunique AND i.indimmediate AND i.indisvalid
		AND i.indpred IS NULL AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum),
	has_column_privilege(c.oid, a.attnum, 'SELECT'), has_column_privilege(c.oid, a.attnum, 'INSERT'),
	has_column_privilege(c.oid, a.attnum, 'UPDATE'), has_table_privilege(c.oid, 'DELETE'), c.relkind IN ('r', 'p'), row_security_active(c.oid)
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type AS d ON d.oid = a.atttypid
JOIN pg_catalog.pg_type AS t ON t.oid = CASE d.typtype WHEN 'd' THEN d.typbasetype ELSE d.oid END
JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
WHERE c.oid = to_regclass($1)`, table)
	if err != nil {
		return nil, err
	}
	found := map[string]column{}
	var name string
	var c column
	_, err = pgx.ForEachRow(rows, []any{
		&name, &c.schema, &c.name, &c.length, &c.unique, &c.mayRead, &c.mayInsert, &c.mayUpdate, &c.mayDelete, &c.isTable, &c.rowSecured,
	}, func() error {
		found[name] = c
		return nil
	})
	var e *pgconn.PgError
	switch {
	case errors.As(err, &e) && e.Code == codePrivilege:
		i.find("%s: role %q may not look into the schema of %s: GRANT USAGE ON SCHEMA … TO %s", field, i.role, table, quoted(i.role))
		return nil, nil
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, nil
	}
	return found, nil
}

// accounts checks the mapped table.
func (i *inspection) accounts() error {
	a, s := i.config.Accounts, i.config.Statements
	switch s.IDs {
	case "integer":
		i.types.kind = idInt64
	case "uuid":
		i.types.kind = idUUID
	}
	if !i.config.mapped() {
		return nil
	}
	table := quoted(a.Schema, a.Table)
	before := len(i.findings)
	columns, err := i.columns("accounts.table", table)
	if err != nil || len(i.findings) > before {
		return err
	}
	if columns == nil {
		i.find("accounts.table: there is no table %s in the database (names are taken as written, case included): name the one with the accounts, and its schema", table)
		return nil
	}
	reads, writes := s.Lookup == "" || s.LookupIDs == "", s.Set == ""
	check := func(field, name string, read, write bool, types ...string) column {
		return i.column(columns, table, field, name, read, write, types...)
	}
	id := check("accounts.id", a.ID, true, false, "text", "varchar", "bpchar", "citext", "uuid", "int2", "int4", "int8")
	i.types.kind = map[string]idKind{"uuid": idUUID, "int2": idInt16, "int4": idInt32, "int8": idInt64}[id.name]
	if id.isTable && !id.unique {
		i.find("accounts.id: %s has no unique index on %s alone, so that one reset could write several rows: name the column of its key, or write statements", table, quoted(a.ID))
	}
	if id.rowSecured {
		i.warnings = append(i.warnings, fmt.Sprintf("row security applies to role %q on %s: accounts that no policy shows it do not exist for surgegate", i.role, table))
	}
	if reads {
		for _, name := range a.Identifiers {
			check("accounts.identifiers", name, true, false, "text", "varchar", "bpchar", "citext")
		}
		check("accounts.address", a.Address, true, false, "text", "varchar", "bpchar", "citext")
		check("accounts.locale", a.Locale, true, false, "text", "varchar", "bpchar", "citext")
		check("accounts.not_resettable", a.NotResettable, true, false, "bool")
	}
	if writes || a.ShareHash {
		hash := check("accounts.hash", a.Hash, a.ShareHash, writes, "text", "varchar")
		if need := longest(i.config.HashSchemes); hash.length >= 0 && hash.length < need {
			i.find("accounts.hash: %s holds %d characters, a hash of %s takes up to %d: ALTER TABLE %s ALTER %s TYPE text, or leave the longer schemes out of hash_schemes",
				quoted(a.Hash), hash.length, strings.Join(i.config.HashSchemes, ", "), need, table, quoted(a.Hash))
		}
	}
	if writes {
		check("accounts.password_time", a.PasswordTime, true, true, "timestamptz")
	}
	return nil
}

// longest is how long a hash can get: argon2id with 32-byte digests and the widest parameters that surgegate computes
// ($argon2id$v=19$m=262144,t=10,p=16$, 22 and 43 characters), bcrypt always 60.
func longest(schemes []string) int {
	if slices.ContainsFunc(schemes, func(s string) bool { return !strings.HasPrefix(s, "2") }) {
		return 101
	}
	return 60
}

// column checks one column and notes its type.
func (i *inspection) column(columns map[string]column, table, field, name string, read, write bool, types ...string) column {
	if name == "" {
		return column{length: -1}
	}
	c, ok := columns[name]
	if !ok {
		var names []string
		for n := range columns {
			names = append(names, n)
		}
		slices.Sort(names)
		i.find("%s: %s has no column %s (names are taken as written, case included); it has %s", field, table, quoted(name), strings.Join(names, ", "))
		return column{length: -1}
	}
	i.types.casts[name], i.types.schemas[name] = c.cast(), c.schema
	if !slices.Contains(types, c.name) {
		i.find("%s: %s in %s is of type %s; it must be one of %s: name another column, or write statements", field, quoted(name), table, c.shown(), strings.Join(types, ", "))
	}
	for _, p := range []struct {
		wanted, may bool
		privilege   string
	}{{read, c.mayRead, "SELECT"}, {write, c.mayUpdate, "UPDATE"}} {
		if p.wanted && !p.may {
			i.find("%s: role %q may not %s it: GRANT %s (%s) ON %s TO %s", field, i.role, p.privilege, p.privilege, quoted(name), table, quoted(i.role))
		}
	}
	return c
}

// changes checks surgegate's own table, and makes it where that is allowed.
func (i *inspection) changes() error {
	c := i.config.Changes
	table := quoted(c.Schema, c.Table)
	create := "CREATE TABLE IF NOT EXISTS " + table +
		` (account_id text COLLATE "C" PRIMARY KEY, sequence bigint NOT NULL, change_id text NOT NULL, accept_time timestamptz NOT NULL) WITH (fillfactor = 70)`
	before := len(i.findings)
	columns, err := i.columns("changes.table", table)
	if err != nil || len(i.findings) > before {
		return err
	}
	if columns == nil && c.Create {
		var e *pgconn.PgError
		// Another process may be making it: then the first try fails on the catalog's own unique index.
		if _, err = i.conn.Exec(i.ctx, create); errors.As(err, &e) && e.Code == "23505" {
			_, err = i.conn.Exec(i.ctx, create)
		}
		if errors.As(err, &e) && e.Code == codePrivilege {
			i.find("changes.create: role %q may not make %s: GRANT CREATE ON its SCHEMA, or let an owner make it: %s", i.role, table, create)
			return nil
		}
		if err != nil {
			return err
		}
		if columns, err = i.columns("changes.table", table); err != nil {
			return err
		}
	}
	if columns == nil {
		i.find("changes.table: there is no table %s: let an owner make it (%s; GRANT SELECT, INSERT, UPDATE ON %s TO %s), or write changes: {create: true}",
			table, create, table, quoted(i.role))
		return nil
	}
	for _, want := range []struct{ name, kind string }{
		{"account_id", "text"}, {"sequence", "int8"}, {"change_id", "text"}, {"accept_time", "timestamptz"},
	} {
		switch got, ok := columns[want.name]; {
		case !ok || got.name != want.kind:
			i.find("changes.table: %s is not surgegate's: it has no column %s of type %s: name another, or let it be made anew: %s", table, want.name, want.kind, create)
		case want.name == "account_id" && !got.unique:
			i.find("changes.table: account_id is not the primary key of %s: ALTER TABLE %s ADD PRIMARY KEY (account_id)", table, table)
		}
	}
	if len(i.findings) > before {
		return nil // another's: no rights to it are to be given
	}
	for name, got := range columns {
		if !got.mayRead || !got.mayInsert || !got.mayUpdate {
			i.find("changes.table: role %q may not use %s of %s: GRANT SELECT, INSERT, UPDATE ON %s TO %s", i.role, name, table, table, quoted(i.role))
			break
		}
	}
	return nil
}

// sessions checks the mapped sessions' table.
func (i *inspection) sessions() error {
	s := i.config.Sessions
	if s.Table == "" {
		return nil
	}
	table := quoted(s.Schema, s.Table)
	before := len(i.findings)
	columns, err := i.columns("sessions.table", table)
	if err != nil || len(i.findings) > before {
		return err
	}
	if columns == nil {
		i.find("sessions.table: there is no table %s (names are taken as written, case included): name the one with the sessions, or write statements.revoke", table)
		return nil
	}
	account := i.column(columns, table, "sessions.account_id", s.AccountID, true, false, "text", "varchar", "bpchar", "citext", "uuid", "int2", "int4", "int8")
	i.types.session = account.cast()
	begun := i.column(columns, table, "sessions.begun", s.Begun, true, false, "timestamptz")
	if begun.name != "" && !begun.mayDelete {
		i.find("sessions.table: role %q may not DELETE from it: GRANT DELETE ON %s TO %s", i.role, table, quoted(i.role))
	}
	return nil
}

// given checks the site's own statements as they were written, so that positions and names are the reader's.
func (i *inspection) given() error {
	const texts, times = pgtype.TextArrayOID, pgtype.TimestamptzArrayOID
	s := i.config.Statements
	looked := []field{{"n", true, counts}, {"id", true, nil}, {"address", true, nil}, {"locale", false, nil}, {"hash", false, nil}, {"not_resettable", false, []uint32{pgtype.BoolOID}}}
	for _, g := range []struct {
		name, sql string
		params    []uint32
		fields    []field
		free      bool // it may return what it likes
	}{
		{"lookup", s.Lookup, []uint32{texts}, looked, false},
		{"lookup_ids", s.LookupIDs, []uint32{texts}, looked, false},
		{"lock", s.Lock, []uint32{texts}, []field{{"n", true, counts}, {"account_id", true, nil}, {"password_time", false, []uint32{pgtype.TimestamptzOID}}}, false},
		{"set", s.Set, []uint32{texts, texts, times}, nil, true},
		{"revoke", s.Revoke, []uint32{texts, times}, []field{{"n", true, counts}, {"ended", true, counts}}, false},
	} {
		if g.sql == "" {
			continue
		}
		name := "statements." + g.name
		sd, err := i.prepare(name, g.sql)
		if err != nil {
			return err
		}
		if sd == nil {
			continue
		}
		if err := i.forget(); err != nil {
			return err
		}
		if !slices.Equal(sd.ParamOIDs, g.params) {
			i.find("%s: its parameters are (%s), they must be (%s): write casts such as $1::text[], and convert what unnest gives", name, i.typeNames(sd.ParamOIDs), i.typeNames(g.params))
		}
		// What revoke returns is optional as a whole, and read by place.
		if g.free || g.name == "revoke" && len(sd.Fields) == 0 {
			continue
		}
		i.fields(name, sd.Fields, g.fields, g.name == "revoke")
	}
	return nil
}

// field is a result column of a site's statement.
type field struct {
	name     string
	required bool
	types    []uint32 // nil for any that has a text form
}

var counts = []uint32{pgtype.Int8OID, pgtype.Int4OID}

func (i *inspection) fields(statement string, got []pgconn.FieldDescription, want []field, inPlace bool) {
	for at, w := range want {
		found := slices.IndexFunc(got, func(f pgconn.FieldDescription) bool { return f.Name == w.name })
		switch {
		case found < 0 && !w.required:
		case found < 0 || inPlace && found != at:
			var names []string
			for _, w := range want {
				names = append(names, w.name)
			}
			i.find("%s: returns no column %s where it belongs: name its columns %s", statement, w.name, strings.Join(names, ", "))
		case w.types != nil && !slices.Contains(w.types, got[found].DataTypeOID):
			i.find("%s: column %s is of type %s, it must be %s: write a cast", statement, w.name, i.typeNames([]uint32{got[found].DataTypeOID}), i.typeNames(w.types[:1]))
		}
	}
}

// typeNames shows types as SQL does.
func (i *inspection) typeNames(oids []uint32) string {
	names := make([]string, len(oids))
	for n, oid := range oids {
		if names[n] = fmt.Sprintf("type %d", oid); i.conn.QueryRow(i.ctx, "SELECT format_type($1, NULL)", oid).Scan(&names[n]) != nil {
			continue // the number has to do
		}
	}
	return strings.Join(names, ", ")
}

// prepare has the server parse a statement, under a name that is the check's for the time of it; nil where that found
// something.
func (i *inspection) prepare(name, sql string) (*pgconn.StatementDescription, error) {
	sd, err := i.conn.Conn().PgConn().Prepare(i.ctx, checked, sql, nil)
	var e *pgconn.PgError
	if !errors.As(err, &e) || !misconfigured(e.Code) {
		return sd, err
	}
	what := map[string]string{
		"42601": "is no SQL statement", codeNoTable: "names a table that is not there", "42703": "names a column that is not there",
		"42883": "uses a function or an operator that is not there for these types", codePrivilege: "needs a privilege that the role lacks",
		"42P18": "leaves the type of a parameter open: write casts such as $1::text[]",
	}[e.Code]
	if what == "" {
		what = "cannot be prepared"
	}
	near := ""
	if runes := []rune(sql); e.Position > 0 && int(e.Position) <= len(runes) {
		rest := runes[e.Position-1:]
		near = fmt.Sprintf(" at character %d, %q", e.Position, string(rest[:min(len(rest), 30)]))
	}
	i.find("%s: %s%s (SQLSTATE %s)", name, what, near, e.Code)
	return nil, nil
}

// try has the server plan what will run, which also checks every privilege, and warns of look-ups that read whole tables.
func (i *inspection) try() error {
	for _, t := range i.plan.statements() {
		sd, err := i.prepare(t.field, t.sql)
		if err != nil {
			return err
		}
		if sd == nil {
			continue
		}
		lines, err := i.explain(t.params)
		var e *pgconn.PgError
		switch {
		case errors.As(err, &e) && e.Code == codePrivilege:
			i.find("%s: role %q lacks a privilege on what the statement uses: see the grants in cmd/surgegate/README.md", t.field, i.role)
		case err != nil:
			return err
		case slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, "Seq Scan on ") }):
			i.warnings = append(i.warnings, t.field+": no index serves it, so each call reads a whole table: make one on the columns that it compares"+
				" (with fold_case on lower(column))")
		}
	}
	return nil
}

const checked = "surgegate_check"

// explain has the server plan what was prepared and forgets it.
func (i *inspection) explain(params int) (lines []string, err error) {
	server := i.conn.Conn().PgConn()
	empty := strings.TrimSuffix(strings.Repeat("'{}', ", params), ", ")
	results, err := server.Exec(i.ctx, begin+"; SET LOCAL enable_seqscan = off; EXPLAIN (COSTS OFF) EXECUTE "+checked+"("+empty+")").ReadAll()
	for _, r := range results {
		for _, row := range r.Rows {
			lines = append(lines, string(row[0]))
		}
	}
	_, ended := server.Exec(i.ctx, rollback).ReadAll()
	return lines, errors.Join(err, ended, i.forget())
}

func (i *inspection) forget() error { return i.conn.Conn().PgConn().Deallocate(i.ctx, checked) }

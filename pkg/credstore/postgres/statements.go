package postgres

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
)

// plan is what the configuration means for the schema as it is: statements, and what account ids look like.
type plan struct {
	lookup, lookupIDs string // $1 text[]; both return the columns that scanAccount reads
	write             string // claims, and with mapped columns writes too
	set               string // the site's own, after write has only claimed; or empty
	last              string // the change in place of each account
	revoke            string // or empty
	ids               idKind
}

// statement is one of a plan's, with the key that it comes from and the number of its parameters, all of them arrays.
type statement struct {
	field, sql string
	params     int
}

func (p *plan) statements() []statement {
	all := []statement{{"lookup", p.lookup, 1}, {"lookup_ids", p.lookupIDs, 1}, {"set", p.write, 5}, {"changes", p.last, 1}}
	if p.set != "" {
		all[2] = statement{"lock", p.write, 4}
		all = append(all, statement{"set", p.set, 3})
	}
	if p.revoke != "" {
		all = append(all, statement{"revoke", p.revoke, 2})
	}
	return all
}

// idKind tells which strings can be account ids, so that others are misses without asking: one that cannot be cast would
// fail the whole batch.
type idKind uint8

const (
	idText idKind = iota
	idInt16
	idInt32
	idInt64
	idUUID
)

// valid is exact: an id is what Lookup told, so another spelling of the same number or uuid is not one.
func (k idKind) valid(id string) bool {
	switch k {
	case idInt16, idInt32, idInt64:
		n, err := strconv.ParseInt(id, 10, 8<<k)
		return err == nil && strconv.FormatInt(n, 10) == id
	case idUUID:
		if len(id) != 36 {
			return false
		}
		for i := range len(id) {
			switch c := id[i]; {
			case i == 8 || i == 13 || i == 18 || i == 23:
				if c != '-' {
					return false
				}
			case (c < '0' || c > '9') && (c < 'a' || c > 'f'):
				return false
			}
		}
		return true
	default:
		return text(id)
	}
}

// text tells whether PostgreSQL can hold the string. None of ours is empty.
func text(s string) bool {
	return s != "" && utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}

// begin and bounds open each transaction. The role's own default isolation could be another, and under a stricter one
// the upsert would fail instead of seeing the newest change.
const (
	begin    = "BEGIN ISOLATION LEVEL READ COMMITTED"
	commit   = "COMMIT"
	rollback = "ROLLBACK"
	// $1 is what is left of the deadline, $2 the lock timeout, both in ms. jit: where no index can be used, the price that
	// switched-off sequential scans are given would have every plan compiled (100 ms).
	bounds = `SELECT set_config('statement_timeout', $1, true), set_config('idle_in_transaction_session_timeout', $1, true),
	set_config('lock_timeout', $2, true), set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true),
	set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true)`
)

// quoted is a name exactly as configured.
func quoted(parts ...string) string {
	var given pgx.Identifier
	for _, p := range parts {
		if p != "" {
			given = append(given, p)
		}
	}
	return given.Sanitize()
}

// build makes the statements; types are those of the mapped columns, as SQL.
func build(c Config, types columnTypes) *plan {
	p := &plan{ids: types.kind}
	a := c.Accounts
	table, id := quoted(a.Schema, a.Table), "a."+quoted(a.ID)
	changes := quoted(c.Changes.Schema, c.Changes.Table)

	p.lookup, p.lookupIDs = inner(c.Statements.Lookup, c.Accounts.ShareHash), inner(c.Statements.LookupIDs, c.Accounts.ShareHash)
	if p.lookup == "" {
		p.lookup = lookup(c, table, id, a.Identifiers, types, true)
	}
	if p.lookupIDs == "" {
		p.lookupIDs = lookup(c, table, id, []string{a.ID}, types, false)
	}

	p.set = c.Statements.Set
	p.write = write(c, table, id, changes, types)
	p.last = fmt.Sprintf(`SELECT i.n, c.change_id FROM unnest($1::text[]) WITH ORDINALITY AS i(id, n)
	JOIN %s AS c ON c.account_id = i.id COLLATE "C"`, changes)

	switch s := c.Sessions; {
	case c.Statements.Revoke != "":
		p.revoke = c.Statements.Revoke
	case s.Table != "":
		p.revoke = fmt.Sprintf(`WITH ended AS (
	DELETE FROM %s AS s USING unnest($1::text[], $2::timestamptz[]) WITH ORDINALITY AS i(id, before, n)
	WHERE s.%s = i.id::%s AND s.%s < i.before RETURNING i.n)
SELECT n, count(*) FROM ended GROUP BY n`, quoted(s.Schema, s.Table), quoted(s.AccountID), types.session, quoted(s.Begun))
	}
	return p
}

// lookup finds accounts by columns. UNION also removes the account that was found by two of them.
func lookup(c Config, table, id string, by []string, types columnTypes, fold bool) string {
	a := c.Accounts
	optional := func(column, cast, def string) string {
		if column == "" {
			return def
		}
		return fmt.Sprintf("coalesce(a.%s%s, %s)", quoted(column), cast, def)
	}
	hash := "''"
	if a.ShareHash {
		hash = optional(a.Hash, "::text", "''")
	}
	arms := make([]string, len(by))
	for i, column := range by {
		left, right, equal := "a."+quoted(column), "i.key::"+types.of(column), types.equal(column)
		if fold && a.FoldCase {
			left, right = "lower("+left+")", "lower("+right+")"
		}
		arms[i] = fmt.Sprintf(`SELECT i.n, %s::text AS id, %s AS address, %s AS locale, %s AS hash, %s AS not_resettable
	FROM unnest($1::text[]) WITH ORDINALITY AS i(key, n) JOIN %s AS a ON %s %s %s`,
			id, optional(a.Address, "::text", "''"), optional(a.Locale, "::text", "''"), hash, optional(a.NotResettable, "", "false"),
			table, left, equal, right)
	}
	return strings.Join(arms, "\nUNION\n") + "\nORDER BY 1, 2"
}

// inner gives a site's own look-up the columns that scanAccount reads, whichever it has: the JSON of a row tells which.
func inner(statement string, share bool) string {
	if statement == "" {
		return ""
	}
	hash := "''"
	if share {
		hash = "coalesce(to_jsonb(s) ->> 'hash', '')"
	}
	return fmt.Sprintf(`SELECT s.n, s.id::text, coalesce(s.address::text, ''), coalesce(to_jsonb(s) ->> 'locale', ''), %s,
	coalesce((to_jsonb(s) ->> 'not_resettable')::boolean, false) FROM (
%s
) AS s ORDER BY 1, 2`, hash, trimmed(statement))
}

// trimmed takes the semicolon away that ends a statement in every editor. The newlines around it keep a comment at its
// end from hiding what follows.
func trimmed(statement string) string {
	return strings.TrimRight(strings.TrimSpace(statement), "; \t\r\n")
}

// write claims a batch in one statement; see doc.go. $1 to $5: ids, sequences, change ids, accept times, hashes (the last
// one only where it writes too). It returns n and whether the change was put, for each row that it could lock. The guard
// divides by zero where one was put and not written, which aborts the transaction.
func write(c Config, table, id, changes string, types columnTypes) string {
	a := c.Accounts
	mapped := c.Statements.Set == ""
	input, names := "$1::text[], $2::bigint[], $3::text[], $4::timestamptz[]", "id, sequence, change_id, accept_time"
	if mapped {
		input, names = input+", $5::text[]", names+", hash"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "WITH input AS (SELECT * FROM unnest(%s) WITH ORDINALITY AS i(%s, n)),\n", input, names)
	if mapped {
		siteTime := "NULL::timestamptz"
		if a.PasswordTime != "" {
			siteTime = "a." + quoted(a.PasswordTime)
		}
		fmt.Fprintf(&b, `locked AS MATERIALIZED (
	SELECT i.*, %[1]s::text COLLATE "C" AS account_id, %[2]s AS site_time
	FROM input AS i JOIN %[3]s AS a ON %[1]s = i.id::%[4]s ORDER BY %[1]s FOR NO KEY UPDATE OF a SKIP LOCKED),
`, id, siteTime, table, types.of(a.ID))
	} else {
		fmt.Fprintf(&b, `own AS MATERIALIZED (
%s
), locked AS MATERIALIZED (
	SELECT i.*, s.account_id::text COLLATE "C" AS account_id, (to_jsonb(s) ->> 'password_time')::timestamptz AS site_time
	FROM own AS s JOIN input AS i ON i.n = s.n),
`, trimmed(c.Statements.Lock))
	}
	fmt.Fprintf(&b, `put AS (
	INSERT INTO %s AS c (account_id, sequence, change_id, accept_time)
	SELECT l.account_id, l.sequence, l.change_id, l.accept_time FROM locked AS l
	WHERE l.site_time IS NULL OR l.site_time <= l.accept_time
	ON CONFLICT (account_id) DO UPDATE
	SET sequence = excluded.sequence, change_id = excluded.change_id, accept_time = excluded.accept_time
	WHERE c.sequence < excluded.sequence AND c.change_id <> excluded.change_id
	RETURNING c.account_id)`, changes)
	if !mapped {
		b.WriteString(`
SELECT l.n, p.account_id IS NOT NULL, 0 FROM locked AS l LEFT JOIN put AS p ON p.account_id = l.account_id COLLATE "C"`)
		return b.String()
	}
	setTime := ""
	if a.PasswordTime != "" {
		setTime = fmt.Sprintf(", %s = l.accept_time", quoted(a.PasswordTime))
	}
	fmt.Fprintf(&b, `, written AS (
	UPDATE %s AS a SET %s = l.hash%s FROM put AS p JOIN locked AS l ON l.account_id = p.account_id COLLATE "C"
	WHERE %s = l.id::%s RETURNING l.n)
SELECT l.n, p.account_id IS NOT NULL, CASE WHEN p.account_id IS NOT NULL AND w.n IS NULL THEN 1 / (l.n - l.n) ELSE 0 END
FROM locked AS l LEFT JOIN put AS p ON p.account_id = l.account_id COLLATE "C" LEFT JOIN written AS w ON w.n = l.n`,
		table, quoted(a.Hash), setTime, id, types.of(a.ID))
	return b.String()
}

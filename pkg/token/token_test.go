package token_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/token"
)

var start = time.Date(2026, 11, 23, 19, 0, 0, 0, time.UTC)

func open(tb testing.TB, dir string, cfg token.Config, c clock.Clock) (*token.Keys, *token.Signer, *token.Verifier) {
	tb.Helper()
	k, err := token.OpenKeys(dir, cfg, c)
	if err != nil {
		tb.Fatal(err)
	}
	s, err := token.NewSigner(k)
	if err != nil {
		tb.Fatal(err)
	}
	return k, s, token.NewVerifier(k)
}

func claims(issue time.Time) token.Claims {
	return token.Claims{Purpose: token.PurposeReset, AccountID: "account-1", Mark: 7, IssueTime: issue,
		ExpireTime: issue.Add(time.Hour), Nonce: [16]byte(reset.NewID())}
}

func sign(tb testing.TB, s *token.Signer, c token.Claims) string {
	tb.Helper()
	tok, err := s.Sign(c)
	if err != nil {
		tb.Fatal(err)
	}
	return tok
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	_, s, v := open(t, t.TempDir(), token.Config{Create: true}, clock.NewManual(start))
	rapid.Check(t, func(t *rapid.T) {
		c := token.Claims{
			Purpose:   token.PurposeReset,
			AccountID: string(rapid.SliceOfN(rapid.Byte(), 1, token.MaxAccountID).Draw(t, "account")),
			Mark:      rapid.Uint64().Draw(t, "mark"),
			IssueTime: time.UnixMicro(rapid.Int64Range(0, 1<<52).Draw(t, "issue")).UTC(),
			Nonce:     [16]byte(reset.NewID()),
		}
		c.ExpireTime = c.IssueTime.Add(time.Duration(rapid.Int64Range(1, 72*3600*1e6).Draw(t, "ttl")) * time.Microsecond)
		tok, err := s.Sign(c)
		if err != nil {
			t.Fatal(err)
		}
		if len(tok) > token.MaxLen {
			t.Fatalf("%d characters", len(tok))
		}
		if got, err := v.Verify(tok, c.ExpireTime.Add(-time.Microsecond)); err != nil || got != c {
			t.Fatalf("%+v, %v, want %+v", got, err, c)
		}
		if _, err := v.Verify(tok, c.ExpireTime); reset.KindOf(err) != reset.KindTokenExpired {
			t.Fatalf("at its expiry: %v", err)
		}
		// One token has one spelling: any other character in any place is refused.
		i := rapid.IntRange(0, len(tok)-1).Draw(t, "place")
		other := rapid.SampledFrom([]byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/ \r\n")).Draw(t, "character")
		if tok[i] == other {
			return
		}
		changed := tok[:i] + string(other) + tok[i+1:]
		if got, err := v.Verify(changed, c.IssueTime); err == nil {
			t.Fatalf("%q verified: %+v", changed, got)
		}
		for _, more := range []string{"\n" + tok, tok + "\n", tok[:i] + "\r\n" + tok[i:], tok + "A", tok + "=", tok[:len(tok)-1]} {
			if _, err := v.Verify(more, c.IssueTime); reset.KindOf(err) != reset.KindTokenInvalid {
				t.Fatalf("%q: %v, want KindTokenInvalid", more, err)
			}
		}
	})
}

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	_, s, _ := open(t, t.TempDir(), token.Config{Create: true}, clock.NewManual(start))
	for name, change := range map[string]func(*token.Claims){
		"no purpose":       func(c *token.Claims) { c.Purpose = 0 },
		"other purpose":    func(c *token.Claims) { c.Purpose = 9 },
		"no account":       func(c *token.Claims) { c.AccountID = "" },
		"long account":     func(c *token.Claims) { c.AccountID = strings.Repeat("x", 256) },
		"no nonce":         func(c *token.Claims) { c.Nonce = [16]byte{} },
		"no life":          func(c *token.Claims) { c.ExpireTime = c.IssueTime },
		"outlives its key": func(c *token.Claims) { c.ExpireTime = c.IssueTime.Add(72*time.Hour + 1) },
	} {
		c := claims(start)
		change(&c)
		if tok, err := s.Sign(c); err == nil {
			t.Errorf("%s: signed %s", name, tok)
		}
	}
}

// Whoever has other keys forges nothing, and is told nothing but what any stranger is told.
func TestForged(t *testing.T) {
	t.Parallel()
	c := clock.NewManual(start)
	_, _, v := open(t, t.TempDir(), token.Config{Create: true}, c)
	dir := t.TempDir()
	otherKeys, s, _ := open(t, dir, token.Config{Create: true}, c)
	good := sign(t, s, claims(start))

	// The forger's key is as old as ours: perhaps it has not reached this process yet.
	_, err := v.Verify(good, start)
	var e *reset.Error
	if e, _ = err.(*reset.Error); e == nil || e.Kind != reset.KindKeyUnknown || e.RetryAfter <= 0 || e.Detail == "" { //nolint:errorlint // the type itself is the contract
		t.Errorf("unknown key: %v, want KindKeyUnknown with a time to come back", err)
	}

	// The same with our key's id in it is a forgery.
	ours := otherKeys.Info(start)[0].ID
	raw, err := base64.RawURLEncoding.DecodeString(good)
	if err != nil || hex.EncodeToString(raw[2:10]) != ours {
		t.Fatalf("%x, %v: the key id is not where doc.go says", raw, err)
	}
	_, s2, v2 := open(t, dir, token.Config{}, c)
	genuine := sign(t, s2, claims(start))
	if _, err := v2.Verify(genuine, start); err != nil {
		t.Fatal(err)
	}
	raw, err = base64.RawURLEncoding.DecodeString(genuine)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		if i >= 2 && i < 10 {
			continue // the key id: KindKeyUnknown or expired
		}
		raw[i] ^= 1
		if _, err := v2.Verify(base64.RawURLEncoding.EncodeToString(raw), start); reset.KindOf(err) != reset.KindTokenInvalid {
			t.Errorf("byte %d changed: %v, want KindTokenInvalid", i, err)
		}
		raw[i] ^= 1
	}
}

func TestMalformed(t *testing.T) {
	t.Parallel()
	_, s, v := open(t, t.TempDir(), token.Config{Create: true}, clock.NewManual(start))
	good := sign(t, s, claims(start))
	for _, tok := range []string{"", "A", "AQ", " ", strings.Repeat("A", 512), strings.Repeat("A", 513), strings.Repeat("=", 64), good + good, "ü" + good, strings.Repeat("A", 1<<20)} {
		_, err := v.Verify(tok, start)
		var e *reset.Error
		if e, _ = err.(*reset.Error); e == nil || e.Kind != reset.KindTokenInvalid || strings.Contains(e.Detail, "token:") { //nolint:errorlint // the type itself is the contract
			t.Errorf("%.20q: %v, want KindTokenInvalid", tok, err)
		}
		if tok != "" && len(tok) > 20 && strings.Contains(fmt.Sprint(err), tok) {
			t.Error("the error repeats the token")
		}
	}
}

func states(k *token.Keys, now time.Time) string {
	var s []string
	for _, i := range k.Info(now) {
		s = append(s, i.State.String())
	}
	return strings.Join(s, " ")
}

// One key's whole life: announced, active, verify-only, gone.
func TestRotation(t *testing.T) {
	t.Parallel()
	dir, c := t.TempDir(), clock.NewManual(start)
	cfg := token.Config{Create: true, Period: 200 * time.Hour, Announce: time.Hour}
	k, s, v := open(t, dir, cfg, c)
	first := claims(start)
	first.ExpireTime = start.Add(72 * time.Hour)
	old := sign(t, s, first)
	at := func(d time.Duration, want string) {
		t.Helper()
		c.Advance(start.Add(d).Sub(c.Now()))
		if err := k.Maintain(c.Now()); err != nil {
			t.Fatal(err)
		}
		if got := states(k, c.Now()); got != want {
			t.Fatalf("after %v: %s, want %s", d, got, want)
		}
	}
	at(0, "active")
	at(198*time.Hour, "active")
	at(199*time.Hour, "active announced")
	last := sign(t, s, claims(c.Now()))
	at(200*time.Hour, "verify-only active")
	next := sign(t, s, claims(c.Now()))
	if last[3:13] == next[3:13] {
		t.Error("the new key does not sign")
	}
	// A worker that verifies the spent token of a sealed completion, at the sealed accept time.
	at(295*time.Hour, "verify-only active")
	if _, err := v.Verify(old, start.Add(time.Hour)); err != nil {
		t.Errorf("spent token: %v", err)
	}
	at(296*time.Hour, "active")
	if _, err := v.Verify(old, start.Add(time.Hour)); reset.KindOf(err) != reset.KindTokenExpired {
		t.Errorf("its key is gone: %v, want KindTokenExpired", err)
	}
	if names, err := filepath.Glob(filepath.Join(dir, "token", "*")); err != nil || len(names) != 2 {
		t.Errorf("files %v, %v, want those of one key", names, err)
	}

	// A program that slept past a rotation goes on signing with what it has, and announces before it changes.
	at(2000*time.Hour, "active announced")
	if _, err := v.Verify(sign(t, s, claims(c.Now())), c.Now()); err != nil {
		t.Error(err)
	}
}

// A front has public files alone, and learns of new keys by Maintain.
func TestFront(t *testing.T) {
	t.Parallel()
	worker, front, c := t.TempDir(), t.TempDir(), clock.NewManual(start)
	if _, err := token.OpenKeys(front, token.Config{}, c); err == nil {
		t.Error("opened without any key")
	}
	wk, s, _ := open(t, worker, token.Config{Create: true}, c)
	copyPublic(t, worker, front)
	fk, err := token.OpenKeys(front, token.Config{}, c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := token.NewSigner(fk); err == nil {
		t.Error("a front signs")
	}
	v := token.NewVerifier(fk)
	if _, err := v.Verify(sign(t, s, claims(start)), start); err != nil {
		t.Error(err)
	}
	c.Advance(720 * time.Hour)
	if err := wk.Maintain(c.Now()); err != nil {
		t.Fatal(err)
	}
	c.Advance(time.Hour)
	tok := sign(t, s, claims(c.Now()))
	if _, err := v.Verify(tok, c.Now()); reset.KindOf(err) != reset.KindKeyUnknown {
		t.Errorf("before the file has come: %v", err)
	}
	copyPublic(t, worker, front)
	if err := fk.Maintain(c.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(tok, c.Now()); err != nil {
		t.Errorf("after the file has come: %v", err)
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	dir, c := t.TempDir(), clock.NewManual(start)
	k, s, v := open(t, dir, token.Config{Create: true}, c)
	id := k.Info(start)[0].ID
	private, public := filepath.Join(dir, "token", id+".key"), filepath.Join(dir, "token", id+".pub")
	for path, mode := range map[string]os.FileMode{private: 0o600, public: 0o644} {
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("%v, %v, want mode %v", info, err, mode)
		}
	}
	tok := sign(t, s, claims(start))

	// What a crash between the two files would leave.
	if err := os.Remove(public); err != nil {
		t.Fatal(err)
	}
	if err := k.Maintain(start); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(public); err != nil {
		t.Errorf("the public file is not made up for: %v", err)
	}

	if err := os.Chmod(private, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := k.Maintain(start); err == nil || !strings.Contains(err.Error(), "chmod 600 "+private) {
		t.Errorf("%v, want the chmod that mends it", err)
	}
	if _, err := v.Verify(tok, start); err != nil {
		t.Errorf("the keys loaded before are lost: %v", err)
	}
	if err := os.Chmod(private, 0o600); err != nil {
		t.Fatal(err)
	}

	// A public file that was exchanged.
	other, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(other)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := k.Maintain(start); err == nil || !strings.Contains(err.Error(), public) {
		t.Errorf("%v, want an error that names %s", err, public)
	}
	for name, content := range map[string]string{"nonsense.pub": "x", id[:14] + "FF.pub": "x"} {
		path := filepath.Join(t.TempDir(), "token", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := token.OpenKeys(filepath.Dir(filepath.Dir(path)), token.Config{}, c); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%v, want an error that names %s", err, path)
		}
	}
}

func TestConcurrent(t *testing.T) {
	t.Parallel()
	dir, c := t.TempDir(), clock.NewManual(start)
	k, s, v := open(t, dir, token.Config{Create: true, Period: 10 * time.Hour, Announce: time.Hour, LongestWait: time.Hour}, c)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				cl := claims(start)
				cl.ExpireTime = start.Add(time.Second)
				tok, err := s.Sign(cl)
				if err != nil {
					t.Error(err)
					return
				}
				_, err = v.Verify(tok, start)
				// Between Sign and Verify the clock may have jumped past the key's whole life.
				if err != nil && reset.KindOf(err) != reset.KindTokenExpired {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for range 30 {
			c.Advance(10 * time.Hour)
			if err := k.Maintain(c.Now()); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
}

func TestConfig(t *testing.T) {
	t.Parallel()
	if err := (token.Config{}).Validate(); err != nil {
		t.Error(err)
	}
	want := token.Config{Period: 720 * time.Hour, Announce: time.Hour, LongestWait: 24 * time.Hour}
	if got := (token.Config{}).WithDefaults(); got != want {
		t.Errorf("defaults %+v, want %+v", got, want)
	}
	for field, cfg := range map[string]token.Config{
		"Period":      {Period: time.Hour},
		"Announce":    {Announce: time.Millisecond},
		"LongestWait": {LongestWait: -1},
	} {
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "token: "+field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestSecretsRedactThemselves(t *testing.T) {
	t.Parallel()
	k, s, _ := open(t, t.TempDir(), token.Config{Create: true}, clock.NewManual(start))
	for _, v := range []any{k, s} {
		var out bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
			fmt.Fprintf(&out, verb, v)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "v", v)
		if n := strings.Count(out.String(), "redacted"); n != 7 {
			t.Errorf("%T shows %s", v, out.String())
		}
	}
	if j, err := json.Marshal(k); err != nil || string(j) != `"redacted"` {
		t.Errorf("%s, %v", j, err)
	}
}

func copyPublic(t *testing.T, from, to string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(to, "token"), 0o700); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(from, "token", "*.pub"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, "token", filepath.Base(name)), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

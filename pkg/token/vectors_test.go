package token_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/token"
)

var update = flag.Bool("update", false, "write testdata/vectors.json anew")

const vectorKeyID = "6b22b3b001020304" // active from 2026-12-16

type vector struct {
	Name       string `json:"name"`
	Token      string `json:"token"`
	VerifiedAt string `json:"verified_at"`
	Result     string `json:"result"` // OK or the reason
	Account    string `json:"account,omitempty"`
	Mark       uint64 `json:"mark,omitempty"`
	IssueTime  string `json:"issue_time,omitempty"`
	ExpireTime string `json:"expire_time,omitempty"`
	Nonce      string `json:"nonce,omitempty"`
}

type vectors struct {
	Comment string   `json:"comment"`
	KeyID   string   `json:"key_id"`
	Seed    string   `json:"seed"` // of the Ed25519 key; public, as all test vectors
	Vectors []vector `json:"vectors"`
}

func vectorKeys(tb testing.TB, seed string) *token.Keys {
	tb.Helper()
	s, err := hex.DecodeString(seed)
	if err != nil {
		tb.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(s))
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "token"), 0o700); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "token", vectorKeyID+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		tb.Fatal(err)
	}
	k, err := token.OpenKeys(dir, token.Config{}, clock.NewManual(start.Add(240*time.Hour)))
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// The format is a promise: what these vectors say stays so. -update is for adding to them.
func TestVectors(t *testing.T) {
	t.Parallel()
	const path = "testdata/vectors.json"
	if *update {
		writeVectors(t, path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all vectors
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	k := vectorKeys(t, all.Seed)
	s, err := token.NewSigner(k)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range all.Vectors {
		at, err := time.Parse(time.RFC3339Nano, v.VerifiedAt)
		if err != nil {
			t.Fatal(err)
		}
		c, err := token.NewVerifier(k).Verify(v.Token, at)
		if got := outcome(err); got != v.Result {
			t.Errorf("%s: %s, want %s", v.Name, got, v.Result)
			continue
		}
		if v.Result != "OK" {
			continue
		}
		if got := describe(v.Name, v.Token, at, c); got != v {
			t.Errorf("%s: %+v, want %+v", v.Name, got, v)
		}
		if tok, err := s.Sign(c); err != nil || tok != v.Token {
			t.Errorf("%s: signs as %q, %v", v.Name, tok, err)
		}
	}
}

func outcome(err error) string {
	if e, ok := err.(*reset.Error); ok { //nolint:errorlint // the type itself is the contract
		return e.Info()
	}
	if err != nil {
		return err.Error()
	}
	return "OK"
}

func describe(name, tok string, at time.Time, c token.Claims) vector {
	return vector{Name: name, Token: tok, VerifiedAt: at.Format(time.RFC3339Nano), Result: "OK", Account: hex.EncodeToString([]byte(c.AccountID)), Mark: c.Mark,
		IssueTime: c.IssueTime.Format(time.RFC3339Nano), ExpireTime: c.ExpireTime.Format(time.RFC3339Nano), Nonce: hex.EncodeToString(c.Nonce[:])}
}

func writeVectors(t *testing.T, path string) {
	t.Helper()
	all := vectors{Comment: "Reset tokens as drawn in doc.go, for other implementations. account, nonce and seed are hexadecimal.",
		KeyID: vectorKeyID, Seed: "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"}
	k := vectorKeys(t, all.Seed)
	s, err := token.NewSigner(k)
	if err != nil {
		t.Fatal(err)
	}
	issue := start.Add(240 * time.Hour)
	nonce := [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	longest := make([]byte, token.MaxAccountID)
	for i := range longest {
		longest[i] = byte(i)
	}
	good := ""
	for _, c := range []struct {
		name, account string
		mark          uint64
		ttl           time.Duration
	}{{"plain", "account-1", 0, time.Hour}, {"with a mark", "4711", 1796000000000000, time.Hour}, {"longest", string(longest), 1<<64 - 1, 72 * time.Hour}, {"shortest", "x", 0, time.Microsecond}} {
		cl := token.Claims{Purpose: token.PurposeReset, AccountID: c.account, Mark: c.mark, IssueTime: issue, ExpireTime: issue.Add(c.ttl), Nonce: nonce}
		tok := sign(t, s, cl)
		all.Vectors = append(all.Vectors, describe(c.name, tok, issue, cl))
		if good == "" {
			good = tok
		}
	}
	bad := func(name, tok string, at time.Time) {
		_, err := token.NewVerifier(k).Verify(tok, at)
		all.Vectors = append(all.Vectors, vector{Name: name, Token: tok, VerifiedAt: at.Format(time.RFC3339Nano), Result: outcome(err)})
	}
	n := len(good)
	bad("expired", good, issue.Add(time.Hour))
	bad("padded", good+"==", issue)
	bad("line break", good[:20]+"\n"+good[20:], issue)
	bad("trailing byte", good+"AA", issue)
	bad("cut", good[:n-4], issue)
	bad("signature changed", good[:n-8]+"AAAAAAAA", issue)
	bad("standard alphabet", "+"+good[1:], issue)
	bad("unknown key, newer", good[:4]+"f"+good[5:], issue)
	bad("unknown key, older", good[:4]+"A"+good[5:], issue)
	bad("empty", "", issue)
	data, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(data, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

func FuzzVerify(f *testing.F) {
	data, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		f.Fatal(err)
	}
	var all vectors
	if err := json.Unmarshal(data, &all); err != nil {
		f.Fatal(err)
	}
	good := map[string]bool{}
	for _, v := range all.Vectors {
		f.Add(v.Token)
		good[v.Token] = good[v.Token] || v.Result == "OK"
	}
	v := token.NewVerifier(vectorKeys(f, all.Seed))
	f.Fuzz(func(t *testing.T, tok string) {
		if c, err := v.Verify(tok, start); err == nil && !good[tok] {
			t.Fatalf("a forgery verified: %q: %+v", tok, c)
		} else if err != nil && outcome(err) == err.Error() && reset.KindOf(err) == reset.KindInternal {
			t.Fatalf("not a *reset.Error: %v", err)
		}
	})
}

func BenchmarkToken(b *testing.B) {
	_, s, v := open(b, b.TempDir(), token.Config{Create: true}, clock.NewManual(start))
	c := claims(start)
	tok := sign(b, s, c)
	b.Run("Sign", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = s.Sign(c)
		}
	})
	b.Run("Verify", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = v.Verify(tok, start)
		}
	})
	b.Run("VerifyMalformed", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = v.Verify("AQ"+tok[:100], start)
		}
	})
}

func ExampleOpenKeys() {
	dir, err := os.MkdirTemp("", "keys")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	clk := clock.System{}

	// A worker makes keys and signs; it calls keys.Maintain about once a minute.
	keys, err := token.OpenKeys(dir, token.Config{Create: true}, clk)
	if err != nil {
		log.Fatal(err)
	}
	signer, err := token.NewSigner(keys)
	if err != nil {
		log.Fatal(err)
	}
	now := clk.Now()
	tok, err := signer.Sign(token.Claims{Purpose: token.PurposeReset, AccountID: "4711", IssueTime: now, ExpireTime: now.Add(time.Hour), Nonce: [16]byte(reset.NewID())})
	if err != nil {
		log.Fatal(err)
	}

	// A front verifies; it needs the .pub files alone.
	claims, err := token.NewVerifier(keys).Verify(tok, now)
	fmt.Println(claims.AccountID, err)
	_, err = token.NewVerifier(keys).Verify(tok, now.Add(time.Hour))
	fmt.Println(reset.KindOf(err) == reset.KindTokenExpired)
	// Output:
	// 4711 <nil>
	// true
}

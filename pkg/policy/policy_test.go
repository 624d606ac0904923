package policy_test

import (
	"crypto/sha1"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"

	"github.com/surgegate/surgegate/pkg/policy"
	"github.com/surgegate/surgegate/pkg/reset"
)

func newPolicy(tb testing.TB, cfg policy.Config) *policy.Policy {
	tb.Helper()
	p, err := policy.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := p.Close(); err != nil {
			tb.Error(err)
		}
	})
	return p
}

// reason returns "" for a good password, else the ErrorInfo reason.
func reason(t *testing.T, p *policy.Policy, password string, maxBytes int) string {
	t.Helper()
	nfc, err := p.Check(password, maxBytes)
	if err == nil {
		if !norm.NFC.IsNormalString(nfc) {
			t.Errorf("%q is not NFC", nfc)
		}
		return ""
	}
	var e *reset.Error
	if !errors.As(err, &e) || e.Detail == "" || e.Field != "new_password" || nfc != "" {
		t.Fatalf("%q: %q, %#v", password, nfc, err)
	}
	if password != "" && password != "password" && strings.Contains(e.Error(), password) {
		t.Errorf("the error repeats the password: %v", e)
	}
	return e.Info()
}

func TestCheck(t *testing.T) {
	t.Parallel()
	alone := newPolicy(t, policy.Config{})
	second := newPolicy(t, policy.Config{SecondFactor: true})
	const e = "e\u0301" // é in NFD: one character
	for _, c := range []struct {
		name     string
		p        *policy.Policy
		password string
		maxBytes int
		want     string
	}{
		{"empty", alone, "", 0, "PASSWORD_TOO_SHORT"},
		{"14", alone, "kq8-Bv2+Zt7_Wx", 0, "PASSWORD_TOO_SHORT"},
		{"15", alone, "kq8-Bv2+Zt7_Wxy", 0, ""},
		{"words", alone, "correct horse battery staple", 0, ""},
		{"spaces at the ends count", alone, " kq8-Bv2+Zt7_W ", 0, ""},
		{"NFD counts as NFC", alone, "kq8-Bv2+Zt7_W" + e, 0, "PASSWORD_TOO_SHORT"},
		{"NFD", alone, "kq8-Bv2+Zt7_Wx" + e, 0, ""},
		{"emoji", alone, "🐎🔋📎🌧🎲🧭🪁🥁🎻🛶🪐🧲🧵🪴🦉", 0, ""},
		{"256", alone, strings.Repeat("kq8-Bv2+Zt7_Wxyz", 15) + "0123456789abcdef", 0, ""},
		{"257", alone, strings.Repeat("kq8-Bv2+Zt7_Wxyz", 16) + "!", 0, "PASSWORD_TOO_LONG"},
		{"256 of 4 bytes", alone, strings.Repeat("🐎🔋📎🌧🎲🧭🪁🥁🎻🛶🪐🧲🧵🪴🦉!", 15) + "🔋🐎📎🌧🎲🧭🪁🥁🎻🛶🪐🧲🧵🪴🦉!", 0, ""},
		{"endless", alone, strings.Repeat("x", 1<<20), 0, "PASSWORD_TOO_LONG"},
		{"endless marks", alone, "e" + strings.Repeat("\u0301", 1<<16), 0, "PASSWORD_TOO_LONG"},
		{"invalid UTF-8", alone, "kq8-Bv2+Zt7_Wxyz\xff", 0, "INVALID"},
		{"surrogate", alone, "kq8-Bv2+Zt7_Wxyz\xed\xa0\x80", 0, "INVALID"},
		{"NUL", alone, "kq8-Bv2+\x00Zt7_Wxyz", 0, ""},
		{"NUL for bcrypt", alone, "kq8-Bv2+\x00Zt7_Wxyz", 72, "INVALID"},
		{"72 bytes for bcrypt", alone, strings.Repeat("kq8-Bv2+Zt7_Wxyz!!", 3) + "0123456789abcdefgh", 72, ""},
		{"73 bytes for bcrypt", alone, strings.Repeat("kq8-Bv2+Zt7_Wxyz!!", 3) + "0123456789abcdefghi", 72, "PASSWORD_TOO_LONG"},
		{"74 bytes, 72 in NFC", alone, strings.Repeat("kq8-Bv2+Zt7_Wxyz!!", 3) + "0123456789abcdef" + e, 72, ""},
		{"listed twice", alone, "passwordpassword", 0, "PASSWORD_COMMON"},
		{"listed twice, other case", alone, "PassWordpASSwORD", 0, "PASSWORD_COMMON"},
		{"listed three times", alone, "dragondragondragon", 0, "PASSWORD_COMMON"},
		{"one character", alone, strings.Repeat("~", 20), 0, "PASSWORD_COMMON"},
		{"one wide character", alone, strings.Repeat("🐎", 20), 0, "PASSWORD_COMMON"},
		{"two characters", alone, strings.Repeat("~|", 9), 0, "PASSWORD_COMMON"},
		{"an unlisted word twice", alone, "kq8-Bv2+kq8-Bv2+", 0, ""},
		{"not whole repeats", alone, "passwordpasswor", 0, ""},
		{"8 with a second factor", second, "kq8-Bv2+", 0, ""},
		{"7 with a second factor", second, "kq8-Bv2", 0, "PASSWORD_TOO_SHORT"},
		{"listed, second factor", second, "password", 0, "PASSWORD_COMMON"},
		{"listed, other case", second, "PassWord", 0, "PASSWORD_COMMON"},
	} {
		if got := reason(t, c.p, c.password, c.maxBytes); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// No error says more than what to do, and no good password comes out changed but for NFC.
func TestCheckProperties(t *testing.T) {
	t.Parallel()
	p := newPolicy(t, policy.Config{})
	rapid.Check(t, func(t *rapid.T) {
		password := rapid.String().Draw(t, "password")
		nfc, err := p.Check(password, 0)
		if err != nil {
			if k := reset.KindOf(err); k != reset.KindWeakPassword && k != reset.KindInvalid {
				t.Fatal(err)
			}
			return
		}
		if n := utf8.RuneCountInString(nfc); nfc != norm.NFC.String(password) || n < 15 || n > 256 {
			t.Fatalf("%q became %q", password, nfc)
		}
		if again, err := p.Check(nfc, 0); err != nil || again != nfc {
			t.Fatalf("checked again: %q, %v", again, err)
		}
	})
}

func write(tb testing.TB, content string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "list.txt")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

func TestSiteBlocklist(t *testing.T) {
	t.Parallel()
	p := newPolicy(t, policy.Config{BlocklistFile: write(t, "# names\r\nAcme Reset Portal\r\n\nE\u0301cole2026\n")})
	for password, want := range map[string]string{
		"acme reset portal":              "PASSWORD_COMMON",
		"\u00e9cole2026\u00c9COLE2026":   "PASSWORD_COMMON", // NFC and case
		"acme reset portal!":             "",
		"# names# names# names# names":   "",
		"passwordpassword":               "PASSWORD_COMMON", // the embedded list still counts
		"Acme Reset PortalAcme Reset Po": "",
	} {
		if got := reason(t, p, password, 0); got != want {
			t.Errorf("%q: %q, want %q", password, got, want)
		}
	}
	for name, path := range map[string]string{"absent": "/nonexistent", "not UTF-8": write(t, "a\xffb\n"), "endless line": write(t, strings.Repeat("x", 8<<10))} {
		if _, err := policy.New(policy.Config{BlocklistFile: path}); err == nil || !strings.Contains(err.Error(), "BlocklistFile") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// breachedFile writes a list of n made-up passwords, in haveibeenpwned.com's format.
func breachedFile(tb testing.TB, n int, eol string, counts bool) (path string) {
	tb.Helper()
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf("%X", sha1.Sum([]byte(breachedPassword(i))))
		if counts {
			lines[i] += fmt.Sprintf(":%d", i*i*i)
		}
	}
	slices.Sort(lines)
	return write(tb, strings.Join(lines, eol)+eol)
}

func breachedPassword(i int) string { return fmt.Sprintf("breached password %d", i) }

func TestBreached(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n      int
		eol    string
		counts bool
	}{{1, "\n", true}, {2, "\r\n", true}, {3, "\n", false}, {1000, "\r\n", true}, {100_000, "\r\n", true}} {
		p := newPolicy(t, policy.Config{BreachedFile: breachedFile(t, c.n, c.eol, c.counts)})
		for i := 0; i < c.n; i += 1 + c.n/500 {
			if got := reason(t, p, breachedPassword(i), 0); got != "PASSWORD_BREACHED" {
				t.Fatalf("%+v: password %d: %q", c, i, got)
			}
			if got := reason(t, p, breachedPassword(i)+"!", 0); got != "" {
				t.Fatalf("%+v: password %d with more: %q", c, i, got)
			}
		}
	}
}

func TestBreachedFileWithoutLastNewline(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(breachedFile(t, 10, "\n", true))
	if err != nil {
		t.Fatal(err)
	}
	p := newPolicy(t, policy.Config{BreachedFile: write(t, strings.TrimSuffix(strings.ToLower(string(content)), "\n"))})
	for i := range 10 {
		if got := reason(t, p, breachedPassword(i), 0); got != "PASSWORD_BREACHED" {
			t.Errorf("password %d: %q", i, got)
		}
	}
}

func TestBadBreachedFiles(t *testing.T) {
	t.Parallel()
	hash := func(b byte) string { return strings.Repeat(fmt.Sprintf("%02X", b), 20) }
	for name, content := range map[string]string{
		"plain passwords":    strings.Repeat("password\n", 1000),
		"sorted by count":    hash(9) + ":9\n" + hash(5) + ":5\n" + hash(1) + ":1\n",
		"NTLM":               strings.Repeat("A", 32) + ":1\n",
		"not hexadecimal":    strings.Repeat("X", 40) + ":1\n",
		"no newline at all":  strings.Repeat("A", 10_000),
		"a gap for a number": hash(1) + " 5\n",
	} {
		if _, err := policy.New(policy.Config{BreachedFile: write(t, content)}); err == nil || !strings.Contains(err.Error(), "BreachedFile") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, path := range []string{"/nonexistent", t.TempDir()} {
		if _, err := policy.New(policy.Config{BreachedFile: path}); err == nil {
			t.Errorf("%s: opened", path)
		}
	}
	// An empty list lists nothing.
	p := newPolicy(t, policy.Config{BreachedFile: write(t, "")})
	if got := reason(t, p, "correct horse battery staple", 0); got != "" {
		t.Errorf("empty list: %q", got)
	}
}

// A file that breaks while it is in use fails the check: nothing is accepted unchecked.
func TestBreachedFileBreaks(t *testing.T) {
	t.Parallel()
	path := breachedFile(t, 1000, "\n", true)
	p := newPolicy(t, policy.Config{BreachedFile: path})
	if err := os.WriteFile(path, []byte(strings.Repeat("x", 50_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Check("correct horse battery staple", 0); reset.KindOf(err) != reset.KindInternal || err == nil {
		t.Errorf("%v, want KindInternal", err)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	if got, want := (policy.Config{}).WithDefaults(), (policy.Config{MinChars: 15, MaxChars: 256}); got != want {
		t.Errorf("defaults %+v, want %+v", got, want)
	}
	if got := (policy.Config{SecondFactor: true}).WithDefaults().MinChars; got != 8 {
		t.Errorf("MinChars %d with a second factor, want 8", got)
	}
	for i, c := range []struct {
		field string
		cfg   policy.Config
	}{
		{"MinChars", policy.Config{MinChars: 14}},
		{"MinChars", policy.Config{MinChars: 7, SecondFactor: true}},
		{"MinChars", policy.Config{MinChars: 65, MaxChars: 64}},
		{"MaxChars", policy.Config{MaxChars: 63}},
		{"MaxChars", policy.Config{MaxChars: 257}},
	} {
		if err := c.cfg.Validate(); err == nil || !strings.Contains(err.Error(), c.field) {
			t.Errorf("%d: %v, want %s named", i, err, c.field)
		}
		if _, err := policy.New(c.cfg); err == nil {
			t.Errorf("%d: made", i)
		}
	}
}

func FuzzCheck(f *testing.F) {
	for _, s := range []string{"", "correct horse battery staple", "\xff", strings.Repeat("e\u0301", 20), "\x00"} {
		f.Add(s, 0)
		f.Add(s, 72)
	}
	p := newPolicy(f, policy.Config{BreachedFile: breachedFile(f, 100, "\r\n", true)})
	f.Fuzz(func(t *testing.T, password string, maxBytes int) {
		nfc, err := p.Check(password, maxBytes)
		if err == nil && (!utf8.ValidString(nfc) || maxBytes > 0 && len(nfc) > maxBytes) {
			t.Fatalf("accepted %q", nfc)
		}
		if err != nil && reset.KindOf(err) == reset.KindInternal {
			t.Fatal(err)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	p := newPolicy(b, policy.Config{})
	long := strings.Repeat("🐎🔋📎🌧🎲🧭🪁🥁🎻🛶🪐🧲🧵🪴🦉!", 16)
	breached := newPolicy(b, policy.Config{BreachedFile: breachedFile(b, 1_000_000, "\r\n", true)})
	for _, c := range []struct {
		name     string
		p        *policy.Policy
		password string
	}{{"28chars", p, "correct horse battery staple"}, {"NFD", p, strings.Repeat("e\u0301", 30) + "!"}, {"256chars", p, long},
		{"Refused", p, "passwordpassword"}, {"Breached1M", breached, "correct horse battery staple"}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = c.p.Check(c.password, 0)
			}
		})
	}
	b.Run("New", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = policy.New(policy.Config{})
		}
	})
}

func ExampleNew() {
	p, err := policy.New(policy.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	for _, password := range []string{"hunter2", "passwordpassword", "correct horse battery staple"} {
		nfc, err := p.Check(password, 0)
		fmt.Printf("%q %v\n", nfc, err)
	}
	// Output:
	// "" PASSWORD_TOO_SHORT new_password: Use a longer password: at least 15 characters; a few unrelated words make a good one.
	// "" PASSWORD_COMMON new_password: Use another password: this one is among the first that attackers try.
	// "correct horse battery staple" <nil>
}

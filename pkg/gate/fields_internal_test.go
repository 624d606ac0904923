package gate

import (
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

func TestNormalise(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, want string }{
		{"plain", "ada@example.com", "ada@example.com"},
		{"case is kept", "Ada@Example.COM", "Ada@Example.COM"},
		{"trimmed", " \t ada \n", "ada"},
		{"trimmed of wide spaces", "\u3000\u00a0ada\u2003", "ada"},
		{"space inside is kept", "ada lovelace", "ada lovelace"},
		{"NFC", "e\u0301va", "\u00e9va"},
		{"longest", strings.Repeat("a", 320), strings.Repeat("a", 320)},
		{"longest with space around", strings.Repeat(" ", 9000) + strings.Repeat("a", 320), strings.Repeat("a", 320)},
		{"decomposed is shorter in NFC", strings.Repeat("e\u0301", 106), strings.Repeat("\u00e9", 106)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got, problem := normalise(c.in); problem != "" || got != c.want {
				t.Errorf("%q, %q", got, problem)
			}
		})
	}
	for name, in := range map[string]string{
		"empty": "", "blank": " \u3000\t", "too long": strings.Repeat("a", 321), "64 KiB": strings.Repeat("a", 64<<10),
		"bad UTF-8": "ada\xff", "cut rune": "ada\xc3", "surrogate": "\xed\xa0\x80", "NUL": "ada\x00", "line break": "a\r\nBcc: b",
		"C1": "ada\u0085x", "longer in NFC": strings.Repeat("\U0001d15e", 79), // 4 bytes each, 8 in NFC
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, problem := normalise(in); problem == "" {
				t.Errorf("%q", got)
			}
		})
	}
}

func FuzzNormalise(f *testing.F) {
	for _, s := range []string{"ada@example.com", " e\u0301 ", "\u1fef", "\u2000x", "a\x00", "\u0344\u0301"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		out, problem := normalise(in)
		if problem != "" {
			return
		}
		if out == "" || len(out) > maxIdentifier || !utf8.ValidString(out) || !norm.NFC.IsNormalString(out) {
			t.Fatalf("%q from %q", out, in)
		}
		if again, problem := normalise(out); problem != "" || again != out {
			t.Fatalf("%q became %q, %q: looked up differently when typed as told", out, again, problem)
		}
	})
}

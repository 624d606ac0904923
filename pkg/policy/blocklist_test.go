package policy

import (
	"bytes"
	"crypto/sha1"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestEmbeddedList(t *testing.T) {
	t.Parallel()
	b, err := loadBlocklist("")
	if err != nil {
		t.Fatal(err)
	}
	if len(b) != 30000 {
		t.Errorf("%d entries, NOTICE says 30,000", len(b))
	}
	for entry := range b {
		if entry != fold(entry) {
			t.Errorf("%q is not folded", entry)
		}
		if !b.matches(entry) || !b.matches(strings.ToUpper(entry)) || !b.matches(entry+entry+entry) {
			t.Errorf("%q passes", entry)
		}
	}
}

func TestRepeated(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{"": "", "a": "a", "aa": "a", "ab": "ab", "abab": "ab", "aba": "aba", "abcabcabc": "abc", "aabaab": "aab", "üü": "ü"} {
		if got := repeated(s); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		unit := rapid.StringOfN(rapid.RuneFrom([]rune("abü")), 1, 6, -1).Draw(t, "unit")
		n := rapid.IntRange(1, 5).Draw(t, "times")
		got := repeated(strings.Repeat(unit, n))
		if len(got) > len(unit) || strings.Repeat(got, n*len(unit)/len(got)) != strings.Repeat(unit, n) {
			t.Fatalf("%q x %d: %q", unit, n, got)
		}
	})
}

// FuzzBreachedFile: whatever the file holds, an answer or an error, soon; and no yes without the hash in it.
func FuzzBreachedFile(f *testing.F) {
	var sorted []byte
	for i := range 20 {
		sorted = fmt.Appendf(sorted, "%02X%038X:%d\r\n", i*12, i, i)
	}
	hash := fmt.Appendf(nil, "%X", sha1.Sum([]byte("password")))
	f.Add(sorted)
	f.Add(append(bytes.Clone(hash), ":1\n"...))
	f.Add([]byte("\n\n\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		b := &breachedFile{r: bytes.NewReader(content), size: int64(len(content))}
		probed := b.probe()
		found, err := b.contains("password")
		if found && !bytes.Contains(bytes.ToUpper(content), hash) {
			t.Fatalf("found in %q (%v, %v)", content, probed, err)
		}
	})
}

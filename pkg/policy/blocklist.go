package policy

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed" // the blocklist
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

//go:embed blocklist/zxcvbn-passwords.txt.gz
var embedded []byte

// maxLine is the longest line of a site's own file, in bytes: more than the longest password.
const maxLine = 4 << 10

// blocklist is the set of entries in NFC and lower case. 30,000 entries take about 2 MB.
type blocklist map[string]struct{}

func loadBlocklist(path string) (blocklist, error) {
	b := make(blocklist, 32<<10)
	z, err := gzip.NewReader(bytes.NewReader(embedded))
	if err != nil {
		return nil, fmt.Errorf("the embedded list: %w", err)
	}
	if err := b.add(z, ""); err != nil {
		return nil, fmt.Errorf("the embedded list: %w", err)
	}
	if path == "" {
		return b, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it is only read
	if err := b.add(f, "#"); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

// add reads one entry from each line. Lines that begin with comment are skipped.
func (b blocklist) add(r io.Reader, comment string) error {
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLine)
	for n := 1; s.Scan(); n++ {
		line := strings.TrimSuffix(s.Text(), "\r")
		if line == "" || comment != "" && strings.HasPrefix(line, comment) {
			continue
		}
		if !utf8.ValidString(line) {
			return fmt.Errorf("line %d is not UTF-8", n)
		}
		b[fold(line)] = struct{}{}
	}
	return s.Err()
}

// fold returns the form in which entries and passwords are compared.
func fold(s string) string { return norm.NFC.String(strings.ToLower(s)) }

// matches says whether the password is listed, or only repeats a listed one, or only repeats one or two characters.
func (b blocklist) matches(nfc string) bool {
	s := fold(nfc)
	unit := repeated(s)
	if unit != s && utf8.RuneCountInString(unit) <= 2 {
		return true
	}
	// Some entries repeat themselves ("123123"), so every whole number of units is looked up, not only the shortest.
	for n := len(unit); n > 0 && n <= len(s); n += len(unit) {
		if len(s)%n != 0 {
			continue
		}
		if _, ok := b[s[:n]]; ok {
			return true
		}
	}
	return false
}

// repeated returns the shortest string that gives s when it is repeated a whole number of times; that is s itself if it repeats nothing.
// If s is a unit of n bytes repeated, then s+s contains s again at offset n, and at no smaller offset above 0.
func repeated(s string) string {
	if len(s) < 2 {
		return s
	}
	return s[:1+strings.Index((s + s)[1:], s)]
}

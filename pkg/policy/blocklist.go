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

// maxLine is the longest line of a site's own file, in bytes: the longest password and then some.
const maxLine = 4 << 10

// blocklist holds entries in NFC and lower case. 30,000 entries take about 2 MB.
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
	defer func() { _ = f.Close() }() // only read
	if err := b.add(f, "#"); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

// add reads one entry a line; lines that begin with comment are passed over.
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

// fold makes an entry or password comparable.
func fold(s string) string { return norm.NFC.String(strings.ToLower(s)) }

// matches tells whether the password is listed, or only repeats something listed or one or two characters.
func (b blocklist) matches(nfc string) bool {
	s := fold(nfc)
	unit := repeated(s)
	if unit != s && utf8.RuneCountInString(unit) <= 2 {
		return true
	}
	// Some listed ones repeat themselves ("123123"), so every whole number of units counts, not the shortest alone.
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

// repeated returns the shortest string of which s consists, repeated whole times; s itself if it is not repeated. A
// string doubled contains itself first at its shortest rotation that changes nothing.
func repeated(s string) string {
	if len(s) < 2 {
		return s
	}
	return s[:1+strings.Index((s + s)[1:], s)]
}

package policy

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // the list of breached passwords is made with it
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
)

const (
	hashChars = 2 * sha1.Size
	// maxBreachedLine is the longest line: hash, colon, count of up to 20 digits, CR LF.
	maxBreachedLine = hashChars + 1 + 20 + 2
)

// breachedFile is a sorted list of SHA-1 hashes that is searched on disk.
type breachedFile struct {
	r    io.ReaderAt
	size int64
	io.Closer
}

func openBreached(path string) (*breachedFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	b := &breachedFile{r: f, size: info.Size(), Closer: f}
	if err := b.probe(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return b, nil
}

// probe reads three lines. That is enough to notice another format, or another order: the same data can also be downloaded sorted by
// count.
func (b *breachedFile) probe() error {
	var last [hashChars]byte
	for _, offset := range []int64{0, b.size / 2, max(b.size/2, b.size-2*maxBreachedLine)} {
		line, _, err := b.lineAt(offset)
		if err != nil {
			return err
		}
		if line == nil {
			continue // the last line began before the offset
		}
		if bytes.Compare(line, last[:]) < 0 {
			return errors.New("not sorted by hash: take the download that is ordered by hash")
		}
		copy(last[:], line)
	}
	return nil
}

// contains says whether the password's hash is in the file.
func (b *breachedFile) contains(password string) (bool, error) {
	sum := sha1.Sum([]byte(password)) //nolint:gosec // the list's hash function; its strength does not matter here
	var want [hashChars]byte
	hex.Encode(want[:], sum[:])
	copy(want[:], bytes.ToUpper(want[:]))

	// Invariant: if the file has the line, it begins in [lo, hi).
	lo, hi := b.guess(binary.BigEndian.Uint64(sum[:]), want[:])
	for lo < hi {
		mid := lo + (hi-lo)/2
		line, next, err := b.lineAt(mid)
		if err != nil {
			return false, err
		}
		if line == nil {
			hi = mid
			continue
		}
		switch c := bytes.Compare(line, want[:]); {
		case c == 0:
			return true, nil
		case c < 0:
			lo = next
		default:
			hi = mid
		}
	}
	return false, nil
}

// guess narrows the search. Hashes are spread evenly, so the line is near its share of the file: for 900 million lines mostly within
// 1 MiB. If it is not, the whole side of the file is searched.
func (b *breachedFile) guess(prefix uint64, want []byte) (lo, hi int64) {
	const spread = 1 << 20
	at := int64(float64(b.size) * (float64(prefix) / (1 << 64)))
	lo, hi = 0, b.size
	if before := at - spread; before > 0 {
		if line, next, err := b.lineAt(before); err == nil && line != nil {
			switch bytes.Compare(line, want) {
			case -1:
				lo = next
			case 1:
				return 0, before
			default:
				return before, b.size
			}
		}
	}
	if after := at + spread; after < b.size {
		if line, _, err := b.lineAt(after); err == nil && line != nil && bytes.Compare(line, want) > 0 {
			hi = after
		}
	}
	return lo, hi
}

// lineAt returns the hash, in upper case, of the first line that begins at or after the offset, and the offset of the line after it. The
// hash is nil if no line begins there.
func (b *breachedFile) lineAt(offset int64) (hash []byte, next int64, err error) {
	var buf [2*maxBreachedLine + 1]byte
	start := max(0, offset-1) // a line begins at the offset if a newline is just before it
	n, err := b.r.ReadAt(buf[:], start)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	text := buf[:n]
	begin := 0
	if offset > 0 {
		i := bytes.IndexByte(text, '\n')
		if i < 0 {
			if start+int64(n) >= b.size {
				return nil, b.size, nil
			}
			return nil, 0, fmt.Errorf("byte %d: a line longer than any \"SHA1:COUNT\"", start)
		}
		begin = i + 1
	}
	line := text[begin:]
	if len(line) == 0 {
		return nil, b.size, nil
	}
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		line = line[:i]
		next = start + int64(begin+i+1)
	} else {
		next = b.size
	}
	line = bytes.TrimRight(line, "\r")
	if len(line) < hashChars || len(line) > hashChars && line[hashChars] != ':' {
		return nil, 0, fmt.Errorf("byte %d: not a line \"SHA1:COUNT\"", start+int64(begin))
	}
	hash = bytes.ToUpper(line[:hashChars])
	if _, err := hex.DecodeString(string(hash)); err != nil {
		return nil, 0, fmt.Errorf("byte %d: not a SHA-1 hash in hexadecimal", start+int64(begin))
	}
	return hash, next, nil
}

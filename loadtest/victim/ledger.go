package victim

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Entry is one applied change, one line of the ledger.
type Entry struct {
	Time     time.Time `json:"t"`
	Account  string    `json:"account"`
	Change   string    `json:"change"`
	Sequence uint64    `json:"seq"`
	Password string    `json:"password"` // Digest of it
}

// Digest is how the ledger holds a password.
func Digest(password string) string {
	sum := sha256.Sum256([]byte(password))
	return hex.EncodeToString(sum[:])
}

// ledger is the database: what is in the file is what is so.
type ledger struct {
	mu       sync.Mutex
	file     *os.File
	changes  map[string]struct{} // change ids applied
	sequence map[string]uint64   // of the last change of an account
}

func openLedger(path string) (*ledger, error) {
	entries, good, err := readLedger(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("victim: ledger: %w", err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("victim: ledger: %w", err)
	}
	if err := errors.Join(file.Truncate(good), seek(file, good)); err != nil {
		return nil, errors.Join(fmt.Errorf("victim: ledger: %w", err), file.Close())
	}
	l := &ledger{file: file, changes: map[string]struct{}{}, sequence: map[string]uint64{}}
	for _, e := range entries {
		l.changes[e.Change] = struct{}{}
		l.sequence[e.Account] = e.Sequence
	}
	return l, nil
}

func seek(f *os.File, to int64) error {
	_, err := f.Seek(to, io.SeekStart)
	return err
}

// verdict of a change against what is in place.
type verdict uint8

const (
	verdictNew verdict = iota
	verdictAlready
	verdictSuperseded
)

func (l *ledger) judge(account, change string, sequence uint64) verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.judgeLocked(account, change, sequence)
}

func (l *ledger) judgeLocked(account, change string, sequence uint64) verdict {
	if _, ok := l.changes[change]; ok {
		return verdictAlready
	}
	if sequence <= l.sequence[account] {
		return verdictSuperseded
	}
	return verdictNew
}

// apply writes a change unless it is there or too old.
func (l *ledger) apply(e Entry) (verdict, error) {
	line, err := json.Marshal(e)
	if err != nil {
		return 0, fmt.Errorf("victim: ledger: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if v := l.judgeLocked(e.Account, e.Change, e.Sequence); v != verdictNew {
		return v, nil
	}
	if _, err := l.file.Write(append(line, '\n')); err != nil {
		return 0, fmt.Errorf("victim: ledger: %w", err)
	}
	l.changes[e.Change] = struct{}{}
	l.sequence[e.Account] = e.Sequence
	return verdictNew, nil
}

func (l *ledger) close() error { return l.file.Close() }

// readLedger returns the entries and where the last whole line ends.
func readLedger(path string) ([]Entry, int64, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("victim: ledger: %w", err)
	}
	good := int64(bytes.LastIndexByte(data, '\n') + 1)
	var entries []Entry
	scan := bufio.NewScanner(bytes.NewReader(data[:good]))
	for n := 1; scan.Scan(); n++ {
		var e Entry
		if err := json.Unmarshal(scan.Bytes(), &e); err != nil {
			return nil, 0, fmt.Errorf("victim: ledger line %d: %w", n, err)
		}
		entries = append(entries, e)
	}
	return entries, good, scan.Err()
}

// Audit is what a ledger says after a run.
type Audit struct {
	Changes      int               // applied in all
	Passwords    map[string]string // account → Digest of the password it has now
	AppliedTwice int               // changes applied again: same change id, or same account and password
	OutOfOrder   int               // changes with a lower sequence than one before them
}

// ReadAudit reads the ledger of a victim that has ended.
func ReadAudit(path string) (Audit, error) {
	entries, _, err := readLedger(path)
	if err != nil {
		return Audit{}, err
	}
	a := Audit{Changes: len(entries), Passwords: map[string]string{}}
	changes, contents := map[string]bool{}, map[[2]string]bool{}
	sequence := map[string]uint64{}
	for _, e := range entries {
		content := [2]string{e.Account, e.Password}
		if changes[e.Change] || contents[content] {
			a.AppliedTwice++
		}
		if e.Sequence < sequence[e.Account] {
			a.OutOfOrder++
		}
		changes[e.Change], contents[content] = true, true
		sequence[e.Account] = e.Sequence
		a.Passwords[e.Account] = e.Password
	}
	return a, nil
}

// AppliedAt is when each account's password was last changed, by a ledger that may still be written.
func AppliedAt(path string) (map[string]time.Time, error) {
	entries, _, err := readLedger(path)
	if err != nil {
		return nil, err
	}
	at := make(map[string]time.Time, len(entries))
	for _, e := range entries {
		at[e.Account] = e.Time
	}
	return at, nil
}

package mailbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Create makes the maildir's folders.
func Create(dir string) error {
	for _, sub := range []string{"tmp", "new", "cur"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return fmt.Errorf("mailbox: %w", err)
		}
	}
	return nil
}

// Deliver puts one plain mail into the maildir.
func Deliver(dir, name, to, subject, text string) error {
	if strings.ContainsAny(to+subject, "\r\n") {
		return errors.New("mailbox: a line break in a header")
	}
	body := "From: Accounts <no-reply@reset.example.com>\r\nTo: " + to + "\r\nSubject: " + subject +
		"\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + text + "\r\n"
	tmp := filepath.Join(dir, "tmp", name)
	if err := os.WriteFile(tmp, []byte(body), 0o600); err != nil {
		return fmt.Errorf("mailbox: %w", err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, "new", name)); err != nil {
		return fmt.Errorf("mailbox: %w", err)
	}
	return nil
}

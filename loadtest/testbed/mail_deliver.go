package testbed

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// CreateMaildir makes the maildir's folders.
func CreateMaildir(dir string) error {
	for _, sub := range []string{"tmp", "new", "cur"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return fmt.Errorf("testbed: %w", err)
		}
	}
	return nil
}

// DeliverMail puts one plain mail into the maildir.
func DeliverMail(dir, name, to, subject, text string) error {
	if strings.ContainsAny(to+subject, "\r\n") {
		return errors.New("testbed: a line break in a header")
	}
	body := "From: Accounts <no-reply@reset.example.com>\r\nTo: " + to + "\r\nSubject: " + subject +
		"\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + text + "\r\n"
	tmp := filepath.Join(dir, "tmp", name)
	if err := os.WriteFile(tmp, []byte(body), 0o600); err != nil {
		return fmt.Errorf("testbed: %w", err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, "new", name)); err != nil {
		return fmt.Errorf("testbed: %w", err)
	}
	return nil
}

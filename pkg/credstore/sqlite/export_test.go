package sqlite

import (
	"fmt"
	"testing"
)

// SetMaxPages makes the database full at n more pages than it has: a full disk without filling one.
func SetMaxPages(t *testing.T, s *Store, n int) {
	t.Helper()
	var pages int
	if err := s.writer.QueryRow("PRAGMA page_count").Scan(&pages); err != nil {
		t.Fatal(err)
	}
	if _, err := s.writer.Exec(fmt.Sprintf("PRAGMA max_page_count = %d", pages+n)); err != nil {
		t.Fatal(err)
	}
}

package demo

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/surgegate/surgegate/loadtest/victim"
)

// writeConfig writes the gateway's configuration: its defaults, but for where things are. No headroom is kept, because
// nobody else calls the demo's store.
func writeConfig(dir, listen, store, maildir string) (string, error) {
	operator, err := victim.FreeAddress()
	if err != nil {
		return "", err
	}
	http, err := victim.FreeAddress()
	if err != nil {
		return "", err
	}
	q := strconv.Quote
	text := fmt.Sprintf(`# Written by storm demo: surgegate's defaults, but for where things are.
role: all
data_dir: %s
keys_dir: %s
listen: {grpc: %s, operator: %s, http: %s}
trust: {callers: ["127.0.0.0/8"]}
queue: {engine: embedded, disk_reserve: 256MiB}
store: {grpc: {address: %s, insecure: true}, headroom: 0}
mail: {maildir: {path: %s}, base_url: %s}
`, q(filepath.Join(dir, "data")), q(filepath.Join(dir, "keys")), q(listen), q(operator), q(http), q(store), q(maildir), q(baseURL))
	path := filepath.Join(dir, "surgegate.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("demo: %w", err)
	}
	return path, nil
}

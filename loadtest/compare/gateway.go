package compare

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"

	"github.com/goccy/go-yaml"

	"github.com/surgegate/surgegate/loadtest/testbed"
)

// diskReserve is less than the default: rehearsals are small, and so may the disk be.
const diskReserve = 256 << 20

// writeConfig writes the gateway's configuration: its defaults, but for where things are, with the overlay's settings laid
// over. No headroom is kept, because nobody else calls the victim.
func writeConfig(listen string, at places, overlay string) (string, error) {
	free, err := testbed.FreeAddresses(2)
	if err != nil {
		return "", err
	}
	operator, http := free[0], free[1]
	q := strconv.Quote
	mail := "maildir: {path: " + q(at.maildir) + "}"
	if at.smtp != "" {
		mail = "smtp: {address: " + q(at.smtp) + ", tls: none}"
	}
	text := fmt.Sprintf(`# Written by storm compare: surgegate's defaults, but for where things are.
role: all
data_dir: %s
keys_dir: %s
listen: {grpc: %s, operator: %s, http: %s}
trust: {callers: ["127.0.0.0/8"]}
queue: {engine: embedded, disk_reserve: %dMiB}
store: {grpc: {address: %s, insecure: true}, headroom: 0}
mail: {%s, base_url: %s}
`, q(filepath.Join(at.dir, "data")), q(filepath.Join(at.dir, "keys")), q(listen), q(operator), q(http), at.reserve>>20, q(at.store), mail, q(baseURL))
	if overlay != "" {
		if text, err = lay(text, overlay); err != nil {
			return "", err
		}
	}
	path := filepath.Join(at.dir, "surgegate.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("compare: %w", err)
	}
	return path, nil
}

// lay puts a file's settings over a configuration: maps are merged, everything else is replaced. Whether the outcome makes
// sense is for the gateway to say.
func lay(base, overlay string) (string, error) {
	data, err := os.ReadFile(overlay)
	if err != nil {
		return "", fmt.Errorf("compare: %w", err)
	}
	var under, over map[string]any
	if err := yaml.Unmarshal([]byte(base), &under); err != nil {
		return "", fmt.Errorf("compare: %w", err)
	}
	if err := yaml.Unmarshal(data, &over); err != nil {
		return "", fmt.Errorf("compare: %s: %w", overlay, err)
	}
	text, err := yaml.Marshal(merge(under, over))
	if err != nil {
		return "", fmt.Errorf("compare: %w", err)
	}
	return string(text), nil
}

func merge(under, over map[string]any) map[string]any {
	merged := maps.Clone(under)
	for key, value := range over {
		below, both := merged[key].(map[string]any)
		if above, ok := value.(map[string]any); ok && both {
			value = merge(below, above)
		}
		merged[key] = value
	}
	return merged
}

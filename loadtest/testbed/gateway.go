package testbed

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/surgegate/surgegate/pkg/clock"
)

// GatewayConfig says how StartGateway configures and starts surgegate.
type GatewayConfig struct {
	Program string // the binary
	Dir     string // gets data, keys, mails and surgegate.yaml; made if it is not there
	Data    string // default: data in Dir
	Store   string // the value of the key store, in YAML
	Mail    string // the value of the key mail, in YAML; default: a maildir, mail in Dir
	Rest    string // further top-level keys, in YAML
	Core    int    // the only core that the gateway may use, or AnyCore
	Args    []string
}

// Gateway is a surgegate process. Its Address is that of the public API.
type Gateway struct {
	*Process
	Operator, HTTP string // addresses of the other listeners
	Keys, Maildir  string // folders; a mail system of one's own leaves Maildir empty
}

// StartGateway writes a configuration with loopback addresses that are free, and returns once the gateway listens.
func StartGateway(ctx context.Context, c clock.Clock, cfg GatewayConfig) (Gateway, error) {
	free, err := FreeAddresses(3)
	if err != nil {
		return Gateway{}, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o750); err != nil {
		return Gateway{}, fmt.Errorf("testbed: %w", err)
	}
	g := Gateway{Operator: free[1], HTTP: free[2], Keys: filepath.Join(cfg.Dir, "keys"), Maildir: filepath.Join(cfg.Dir, "mail")}
	data := cfg.Data
	if data == "" {
		data = filepath.Join(cfg.Dir, "data")
	}
	mail := fmt.Sprintf(`{maildir: {path: %q}, base_url: "https://reset.example.com"}`, g.Maildir)
	if cfg.Mail != "" {
		g.Maildir, mail = "", cfg.Mail
	}
	text := fmt.Sprintf("data_dir: %q\nkeys_dir: %q\nlisten: {grpc: %q, operator: %q, http: %q}\nstore: %s\nmail: %s\n%s",
		data, g.Keys, free[0], g.Operator, g.HTTP, cfg.Store, mail, cfg.Rest)
	path := filepath.Join(cfg.Dir, "surgegate.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return Gateway{}, fmt.Errorf("testbed: %w", err)
	}
	command := Pinned(cfg.Core, append([]string{cfg.Program, "serve", "--config", path}, cfg.Args...)...)
	g.Process, err = Start(ctx, c, free[0], command[0], command[1:]...)
	return g, err
}

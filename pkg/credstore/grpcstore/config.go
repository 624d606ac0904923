package grpcstore

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"
)

// Config says how to reach the backend. The zero value of each field means the default that its comment names.
type Config struct {
	// Address is host:port, or a gRPC target such as dns:///backend:7700 or unix:///run/backend.sock. Required.
	Address string
	// Insecure turns TLS off. Default false.
	Insecure bool
	// CAFile holds the certificates (PEM) to trust. Default: the system's.
	CAFile string
	// CertFile and KeyFile are surgegate's own certificate (PEM), for a backend that asks for one. They are read at each
	// handshake, so that they can be rotated. Default: none.
	CertFile, KeyFile string
	// ServerName is the name in the backend's certificate. Default: the address's host.
	ServerName string
	// MaxMessageBytes bounds a message either way. Default 16 MiB: a batch of 4096 changes of 1 KiB, four times over.
	MaxMessageBytes int
	// CallTimeout bounds calls whose context has no deadline. Default 10 s.
	CallTimeout time.Duration
	// KeepaliveTime is the quiet time after which the connection is tried; gRPC raises it to 10 s. Default 30 s.
	KeepaliveTime time.Duration
}

// WithDefaults fills in what is zero.
func (c Config) WithDefaults() Config {
	if c.MaxMessageBytes == 0 {
		c.MaxMessageBytes = 16 << 20
	}
	if c.CallTimeout == 0 {
		c.CallTimeout = 10 * time.Second
	}
	if c.KeepaliveTime == 0 {
		c.KeepaliveTime = 30 * time.Second
	}
	return c
}

// Validate names the first field that cannot be used.
func (c Config) Validate() error {
	c = c.WithDefaults()
	switch {
	case c.Address == "":
		return errors.New("address: is required")
	case c.Insecure && (c.CAFile != "" || c.CertFile != "" || c.KeyFile != "" || c.ServerName != ""):
		return errors.New("insecure: cannot be true beside ca_file, cert_file, key_file or server_name")
	case (c.CertFile == "") != (c.KeyFile == ""):
		return errors.New("cert_file: needs key_file, and key_file needs it")
	case c.MaxMessageBytes < 64<<10 || c.MaxMessageBytes > 256<<20:
		return fmt.Errorf("max_message_bytes: %d is not between 64 KiB and 256 MiB", c.MaxMessageBytes)
	case c.CallTimeout < time.Millisecond || c.CallTimeout > 10*time.Minute:
		return fmt.Errorf("call_timeout: %v is not between 1ms and 10m", c.CallTimeout)
	case c.KeepaliveTime < 10*time.Second || c.KeepaliveTime > time.Hour:
		return fmt.Errorf("keepalive_time: %v is not between 10s and 1h", c.KeepaliveTime)
	}
	return nil
}

// private tells whether nobody can listen to the connection: it is encrypted, or it does not leave the machine. A name
// other than localhost is not looked up: what it means can change.
func (c Config) private() bool {
	if !c.Insecure || strings.HasPrefix(c.Address, "unix:") {
		return true
	}
	target := c.Address
	for _, scheme := range []string{"dns:///", "passthrough:///", "ipv4:", "ipv6:", "dns:"} {
		if rest, ok := strings.CutPrefix(target, scheme); ok {
			target = rest
			break
		}
	}
	for address := range strings.SplitSeq(target, ",") {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return false
		}
		if a, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !a.IsLoopback()) {
			return false
		}
	}
	return true
}

func (c Config) tlsConfig() (*tls.Config, error) {
	t := &tls.Config{ServerName: c.ServerName, MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("ca_file: holds no certificate")
		}
	}
	if c.CertFile != "" {
		load := func() (*tls.Certificate, error) {
			certificate, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
			return &certificate, err
		}
		if _, err := load(); err != nil {
			return nil, fmt.Errorf("cert_file: %w", err)
		}
		t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return t, nil
}

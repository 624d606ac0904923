package smtp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/surgegate/surgegate/pkg/mail/internal/mime"
)

// TLSMode says how a connection is encrypted.
type TLSMode string

// The modes.
const (
	TLSMandatory     TLSMode = "mandatory"     // STARTTLS, or no mail
	TLSImplicit      TLSMode = "implicit"      // from the first byte (port 465)
	TLSOpportunistic TLSMode = "opportunistic" // STARTTLS where it is offered; loopback or Insecure only
	TLSNone          TLSMode = "none"          // loopback or Insecure only
)

// Config says how to reach the server. The zero value of each field means the default that its comment names.
type Config struct {
	// Address of the server, host:port. Required.
	Address string
	// From is the sender: an address, or a name and an address. Required.
	From string
	// TLS is how connections are encrypted. Default TLSMandatory.
	TLS TLSMode
	// Insecure allows TLSOpportunistic and TLSNone outside loopback. Default false.
	Insecure bool
	// CAFile holds the certificates (PEM) to trust. Default: the system's.
	CAFile string
	// Username signs in with the password in PasswordFile. Default: no sign-in.
	Username string
	// PasswordFile is required with Username. A line end at its end is not part of the password.
	PasswordFile string
	// Connections is the most open connections. Default 4, at most 256.
	Connections int
	// Timeout of a dial, and of a message; the context may end it earlier. Default 30 s.
	Timeout time.Duration
	// IdleTimeout after which a connection is closed. Default 30 s, below the 5 min after which servers may drop it.
	IdleTimeout time.Duration
}

// WithDefaults fills in what is zero.
func (c Config) WithDefaults() Config {
	if c.TLS == "" {
		c.TLS = TLSMandatory
	}
	if c.Connections == 0 {
		c.Connections = 4
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	if c.IdleTimeout == 0 {
		c.IdleTimeout = 30 * time.Second
	}
	return c
}

// Validate names the first field that cannot be used.
func (c Config) Validate() error {
	c = c.WithDefaults()
	host, port, err := net.SplitHostPort(c.Address)
	number, portErr := strconv.ParseUint(port, 10, 16)
	encrypted := c.TLS == TLSMandatory || c.TLS == TLSImplicit
	switch {
	case c.Address == "":
		return errors.New("address: is required")
	case err != nil || portErr != nil || host == "" || number == 0:
		return errors.New("address: is not host:port")
	case !encrypted && c.TLS != TLSOpportunistic && c.TLS != TLSNone:
		return fmt.Errorf("tls: %q is not mandatory, implicit, opportunistic or none", c.TLS)
	case !encrypted && !c.Insecure && !loopback(host):
		return fmt.Errorf("tls: %s outside loopback needs insecure: true, as reset links would travel in the clear", c.TLS)
	case c.Username == "" && c.PasswordFile != "":
		return errors.New("username: is required with password_file")
	case c.Username != "" && c.PasswordFile == "":
		return errors.New("password_file: is required with username")
	case c.Username != "" && !encrypted && !loopback(host):
		return errors.New("username: signing in outside loopback needs tls mandatory or implicit")
	case c.Connections < 1 || c.Connections > 256:
		return fmt.Errorf("connections: %d is not between 1 and 256", c.Connections)
	case c.Timeout < time.Second || c.Timeout > 10*time.Minute:
		return fmt.Errorf("timeout: %v is not between 1s and 10m", c.Timeout)
	case c.IdleTimeout < time.Second || c.IdleTimeout > 5*time.Minute:
		return fmt.Errorf("idle_timeout: %v is not between 1s and 5m", c.IdleTimeout)
	}
	if c.From == "" {
		return errors.New("from: is required")
	}
	if _, err := mime.ParseFrom(c.From); err != nil {
		return fmt.Errorf("from: %w", err)
	}
	return nil
}

// loopback takes only names that go-mail takes for loopback too, so that both agree on when a password may be sent.
func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && a.IsLoopback())
}

func (c Config) tlsConfig(host string) (*tls.Config, error) {
	t := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if c.CAFile == "" {
		return t, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	t.RootCAs = x509.NewCertPool()
	if !t.RootCAs.AppendCertsFromPEM(pem) {
		return nil, errors.New("ca_file: holds no certificate")
	}
	return t, nil
}

func (c Config) password() (string, error) {
	if c.PasswordFile == "" {
		return "", nil
	}
	content, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("password_file: %w", err)
	}
	password := strings.TrimRight(string(content), "\r\n")
	if password == "" {
		return "", errors.New("password_file: is empty")
	}
	return password, nil
}

// options are go-mail's for one connection.
func (c Config) options(host string, port int, encryption *tls.Config) []gomail.Option {
	policy := map[TLSMode]gomail.TLSPolicy{
		TLSMandatory: gomail.TLSMandatory, TLSImplicit: gomail.TLSMandatory, TLSOpportunistic: gomail.TLSOpportunistic, TLSNone: gomail.NoTLS,
	}
	options := []gomail.Option{
		gomail.WithPort(port), gomail.WithTimeout(c.Timeout), gomail.WithTLSConfig(encryption), gomail.WithTLSPolicy(policy[c.TLS]),
		gomail.WithoutNoop(), gomail.WithoutRset(),
	}
	if c.TLS == TLSImplicit {
		options = append(options, gomail.WithSSL())
	}
	if c.Username != "" {
		// Mechanisms that need TLS or protect the password by themselves; NTLM and CRAM-MD5 are left out as broken.
		options = append(options, gomail.WithUsername(c.Username),
			gomail.WithOpportunisticSMTPAuth(gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthPlain, gomail.SMTPAuthLogin))
	}
	return options
}

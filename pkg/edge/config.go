package edge

import (
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Config bounds the edge. Zero fields mean the defaults.
type Config struct {
	// GRPC is where front ends call. Default address 127.0.0.1:7600.
	GRPC Listener
	// Operator is where operators call. Default address 127.0.0.1:7601. Off loopback it needs OperatorTokensFile or a client CA.
	Operator Listener
	// HTTP is where metrics and health are read. Default address 127.0.0.1:7602.
	HTTP Listener
	// TrustedCallers are those whose Client messages are believed: CIDRs or addresses (for development), DNS names or URIs of client
	// certificates. Default (nil): loopback, 127.0.0.0/8 and ::1/128. An empty slice trusts nobody.
	TrustedCallers []string
	// OperatorTokensFile has a line "name:token" for each operator, with a token of at least 32 characters, and comments that begin with #.
	// It is read again when it changes. Default: none.
	OperatorTokensFile string

	// MaxConnections bounds the public listener. Default 10000. The operator and HTTP listeners have 64 each.
	MaxConnections int
	// MaxConcurrentStreams bounds the calls of one connection. Default 1024.
	MaxConcurrentStreams int
	// MaxWatches bounds the tickets that one connection may watch. Default 512, so that half of its streams stay free.
	MaxWatches int
	// MaxConnectionAge is when a connection is asked to close, ±10 %, so that load balancers spread connections anew. Default 10 min.
	MaxConnectionAge time.Duration
	// ConnectionTimeout bounds the TLS and HTTP/2 handshakes. Default 5 s.
	ConnectionTimeout time.Duration
	// CallTimeout ends unary calls that bring no deadline, or a later one. It also ends a request that never arrives whole. Default 35 s,
	// longer than an answer can be held. A watch lasts as long as its connection.
	CallTimeout time.Duration
}

// Bounds that nobody needs to change.
const (
	maxMessageBytes = 64 << 10 // of a request
	maxHeaderBytes  = 16 << 10 // of a call's headers
	// maxConnectionAgeGrace is how long the calls of a connection that is asked to close may still take: longer than an answer can be held.
	maxConnectionAgeGrace = 35 * time.Second
	maxConnectionIdle     = 5 * time.Minute  // connections without calls are closed then
	keepaliveTime         = 30 * time.Second // after so much silence the peer is pinged
	keepaliveTimeout      = 10 * time.Second // how long it may take to answer
	keepaliveMinTime      = 10 * time.Second // the least that a peer must leave between its own pings
)

// Listener is one address.
type Listener struct {
	// Address is host:port. Port 0 takes a free one.
	Address string
	// TLS is off while CertFile is empty.
	TLS TLS
	// Insecure allows an address off loopback without TLS.
	Insecure bool
}

// TLS names PEM files. They are read again when they change.
type TLS struct {
	CertFile, KeyFile string
	// ClientCAFile has the authorities of the certificates of callers or operators. Empty: nobody is asked for one.
	ClientCAFile string
}

// isEnabled says whether there is a certificate to serve with.
func (t TLS) isEnabled() bool { return t.CertFile != "" }

// WithDefaults returns the config with zero fields replaced.
func (c Config) WithDefaults() Config {
	orDefault(&c.GRPC.Address, "127.0.0.1:7600")
	orDefault(&c.Operator.Address, "127.0.0.1:7601")
	orDefault(&c.HTTP.Address, "127.0.0.1:7602")
	if c.TrustedCallers == nil {
		c.TrustedCallers = []string{"127.0.0.0/8", "::1/128"}
	}
	orDefault(&c.MaxConnections, 10_000)
	orDefault(&c.MaxConcurrentStreams, 1024)
	orDefault(&c.MaxWatches, 512)
	orDefault(&c.MaxConnectionAge, 10*time.Minute)
	orDefault(&c.ConnectionTimeout, 5*time.Second)
	orDefault(&c.CallTimeout, 35*time.Second)
	return c
}

// orDefault sets v to d if it is zero.
func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Validate checks the config with its defaults. The error names the first field that cannot be used.
func (c Config) Validate() error {
	c = c.WithDefaults()
	listeners := []struct {
		field string
		l     Listener
	}{{"GRPC", c.GRPC}, {"Operator", c.Operator}, {"HTTP", c.HTTP}}
	for _, x := range listeners {
		if err := x.l.validate(x.field); err != nil {
			return err
		}
	}
	if !c.Operator.isLoopback() && c.OperatorTokensFile == "" && c.Operator.TLS.ClientCAFile == "" {
		return fmt.Errorf("Operator.Address: %s is off loopback and needs OperatorTokensFile or Operator.TLS.ClientCAFile",
			c.Operator.Address)
	}
	t, err := newTrust(c.TrustedCallers)
	if err != nil {
		return err
	}
	if len(t.names) > 0 && c.GRPC.TLS.ClientCAFile == "" {
		return fmt.Errorf("TrustedCallers: certificate identities need GRPC.TLS.ClientCAFile")
	}
	ints := []struct {
		field string
		v     int
	}{
		{"MaxConnections", c.MaxConnections},
		{"MaxConcurrentStreams", c.MaxConcurrentStreams},
		{"MaxWatches", c.MaxWatches},
	}
	for _, x := range ints {
		if x.v < 1 || x.v > 1<<30 {
			return fmt.Errorf("%s: %d is not between 1 and 2^30", x.field, x.v)
		}
	}
	durations := []struct {
		field string
		v     time.Duration
	}{
		{"MaxConnectionAge", c.MaxConnectionAge},
		{"ConnectionTimeout", c.ConnectionTimeout},
		{"CallTimeout", c.CallTimeout},
	}
	for _, x := range durations {
		if x.v < 0 {
			return fmt.Errorf("%s: %s is negative", x.field, x.v)
		}
	}
	return nil
}

func (l Listener) validate(field string) error {
	if _, _, err := net.SplitHostPort(l.Address); err != nil {
		return fmt.Errorf("%s.Address: %q is not host:port: %w", field, l.Address, err)
	}
	if (l.TLS.CertFile == "") != (l.TLS.KeyFile == "") {
		return fmt.Errorf("%s.TLS: CertFile and KeyFile go together", field)
	}
	if l.TLS.ClientCAFile != "" && !l.TLS.isEnabled() {
		return fmt.Errorf("%s.TLS.ClientCAFile: needs CertFile and KeyFile", field)
	}
	if !l.isLoopback() && !l.TLS.isEnabled() && !l.Insecure {
		return fmt.Errorf("%s.Address: %s is off loopback without TLS; set TLS, or insecure: true where a proxy encrypts", field, l.Address)
	}
	return nil
}

// isLoopback says whether the address certainly is on loopback: a literal address or localhost.
func (l Listener) isLoopback() bool {
	host, _, err := net.SplitHostPort(l.Address)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

package edge

import (
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Config bounds the edge. Zero fields mean the documented defaults.
type Config struct {
	// GRPC is where front ends call; default address 127.0.0.1:7600.
	GRPC Listener
	// Operator is where operators call; default address 127.0.0.1:7601. Off loopback it needs OperatorTokensFile or a
	// client CA.
	Operator Listener
	// HTTP is where metrics and health are read; default address 127.0.0.1:7602.
	HTTP Listener
	// TrustedCallers are those whose Client messages are believed: CIDRs or addresses (for development), DNS names or
	// URIs of client certificates. Default: loopback, 127.0.0.0/8 and ::1/128; an empty non-nil slice trusts nobody.
	TrustedCallers []string
	// OperatorTokensFile has a line "name:token" for each operator, tokens of at least 32 characters, # for comments.
	// It is read again when it changes. Default: none.
	OperatorTokensFile string

	// MaxMessageBytes bounds a request; default 64 KiB.
	MaxMessageBytes int
	// MaxHeaderBytes bounds a call's headers; default 16 KiB.
	MaxHeaderBytes int
	// MaxConnections bounds the public listener; operator and HTTP have 64 each. Default 10000.
	MaxConnections int
	// MaxConcurrentStreams bounds the calls of one connection; default 1024.
	MaxConcurrentStreams int
	// MaxWatches bounds the tickets watched on one connection; default 512, so that half of its streams stay free.
	MaxWatches int
	// MaxConnectionAge is when a connection is asked to go, ±10 %, so that balancers spread anew; default 10 min.
	MaxConnectionAge time.Duration
	// MaxConnectionAgeGrace is how long its calls may still take; default 35 s, longer than the longest wait.
	MaxConnectionAgeGrace time.Duration
	// MaxConnectionIdle closes connections without calls; default 5 min.
	MaxConnectionIdle time.Duration
	// ConnectionTimeout bounds TLS and HTTP/2 handshakes; default 5 s.
	ConnectionTimeout time.Duration
	// CallTimeout ends calls that bring no deadline, or a later one; default 35 s, longer than the longest wait. It is
	// what ends a request that never arrives whole. Watches last as long as their connection.
	CallTimeout time.Duration
	// KeepaliveTime is after how much silence the peer is pinged; default 30 s.
	KeepaliveTime time.Duration
	// KeepaliveTimeout is how long the peer may take to answer; default 10 s.
	KeepaliveTimeout time.Duration
	// KeepaliveMinTime is the least a peer must leave between its own pings; default 10 s.
	KeepaliveMinTime time.Duration
}

// Listener is one address.
type Listener struct {
	// Address is host:port; port 0 takes a free one.
	Address string
	// TLS is off while CertFile is empty.
	TLS TLS
	// Insecure allows an address off loopback without TLS.
	Insecure bool
}

// TLS names PEM files; they are read again when they change.
type TLS struct {
	CertFile, KeyFile string
	// ClientCAFile signs the certificates of callers (public) or operators; empty: none is asked for.
	ClientCAFile string
}

func (t TLS) enabled() bool { return t.CertFile != "" }

// WithDefaults returns the config with zero fields replaced.
func (c Config) WithDefaults() Config {
	orDefault(&c.GRPC.Address, "127.0.0.1:7600")
	orDefault(&c.Operator.Address, "127.0.0.1:7601")
	orDefault(&c.HTTP.Address, "127.0.0.1:7602")
	if c.TrustedCallers == nil {
		c.TrustedCallers = []string{"127.0.0.0/8", "::1/128"}
	}
	orDefault(&c.MaxMessageBytes, 64<<10)
	orDefault(&c.MaxHeaderBytes, 16<<10)
	orDefault(&c.MaxConnections, 10_000)
	orDefault(&c.MaxConcurrentStreams, 1024)
	orDefault(&c.MaxWatches, 512)
	orDefault(&c.MaxConnectionAge, 10*time.Minute)
	orDefault(&c.MaxConnectionAgeGrace, 35*time.Second)
	orDefault(&c.MaxConnectionIdle, 5*time.Minute)
	orDefault(&c.ConnectionTimeout, 5*time.Second)
	orDefault(&c.CallTimeout, 35*time.Second)
	orDefault(&c.KeepaliveTime, 30*time.Second)
	orDefault(&c.KeepaliveTimeout, 10*time.Second)
	orDefault(&c.KeepaliveMinTime, 10*time.Second)
	return c
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Validate names the first field that cannot be used. Call it on a config WithDefaults.
func (c Config) Validate() error {
	listeners := []struct {
		field string
		l     Listener
	}{{"GRPC", c.GRPC}, {"Operator", c.Operator}, {"HTTP", c.HTTP}}
	for _, x := range listeners {
		if err := x.l.validate(x.field); err != nil {
			return err
		}
	}
	if !c.Operator.loopback() && c.OperatorTokensFile == "" && c.Operator.TLS.ClientCAFile == "" {
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
		{"MaxMessageBytes", c.MaxMessageBytes},
		{"MaxHeaderBytes", c.MaxHeaderBytes},
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
		{"MaxConnectionAgeGrace", c.MaxConnectionAgeGrace},
		{"MaxConnectionIdle", c.MaxConnectionIdle},
		{"ConnectionTimeout", c.ConnectionTimeout},
		{"CallTimeout", c.CallTimeout},
		{"KeepaliveTime", c.KeepaliveTime},
		{"KeepaliveTimeout", c.KeepaliveTimeout},
		{"KeepaliveMinTime", c.KeepaliveMinTime},
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
	if l.TLS.ClientCAFile != "" && !l.TLS.enabled() {
		return fmt.Errorf("%s.TLS.ClientCAFile: needs CertFile and KeyFile", field)
	}
	if !l.loopback() && !l.TLS.enabled() && !l.Insecure {
		return fmt.Errorf("%s.Address: %s is off loopback without TLS; set TLS, or insecure: true where a proxy encrypts", field, l.Address)
	}
	return nil
}

// loopback takes only what surely is: a literal address or localhost.
func (l Listener) loopback() bool {
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

package connect

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// Config is where to and as whom.
type Config struct {
	Address   string        // host:port. Default 127.0.0.1:7601
	CA        string        // PEM file of its authorities; turns TLS on
	Cert      string        // PEM file of a client certificate, for TLS
	Key       string        // its private key
	TokenFile string        // file with a bearer token
	Timeout   time.Duration // of one call. Default 10 s: at 3 a.m. an answer or a clear error, not a hanging prompt
}

// WithDefaults fills zero fields.
func (c Config) WithDefaults() Config {
	if c.Address == "" {
		c.Address = "127.0.0.1:7601"
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	return c
}

// Validate names the field that makes no sense.
func (c Config) Validate() error {
	host, _, err := net.SplitHostPort(c.Address)
	if err != nil {
		return fmt.Errorf("address %q: write host:port", c.Address)
	}
	if c.Timeout < 0 {
		return errors.New("timeout: must not be negative")
	}
	if (c.Cert == "") != (c.Key == "") {
		return errors.New("cert and key: give both or none")
	}
	if !c.secure() && !loopback(host) {
		return fmt.Errorf("%s is not loopback: give --ca (and --cert and --key, or --token-file), so that nobody listens in", c.Address)
	}
	return nil
}

// secure tells whether it speaks TLS.
func (c Config) secure() bool { return c.CA != "" || c.Cert != "" }

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Client is a connection to one surgegate. It connects with the first call.
type Client struct {
	operatorv1.OperatorClient
	conn *grpc.ClientConn
	cfg  Config
}

// New reads the files that the config names. Its errors are of kind usage.
func New(cfg Config) (*Client, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, Usage(err)
	}
	transport, err := cfg.transport()
	if err != nil {
		return nil, Usage(err)
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transport), grpc.WithNoProxy(),
		// gRPC's own goes up to two minutes: top would show a surgegate that is long back as gone.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: .2, MaxDelay: 2 * time.Second},
			// Longer than a call waits: else who says nothing is, as often as not, taken for one who hung up.
			MinConnectTimeout: cfg.Timeout + time.Second,
		}),
	}
	if cfg.TokenFile != "" {
		token, err := os.ReadFile(cfg.TokenFile)
		if err != nil {
			return nil, Usage(fmt.Errorf("token-file: %w", err))
		}
		options = append(options, grpc.WithPerRPCCredentials(bearer(strings.TrimSpace(string(token)))))
	}
	conn, err := grpc.NewClient(cfg.Address, options...)
	if err != nil {
		return nil, Usage(fmt.Errorf("address %q: %w", cfg.Address, err))
	}
	return &Client{OperatorClient: operatorv1.NewOperatorClient(conn), conn: conn, cfg: cfg}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Address is where it goes to.
func (c *Client) Address() string { return c.cfg.Address }

// Do calls f with the deadline of one call and turns its error into an Error.
func (c *Client) Do(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	return c.Explain(f(ctx))
}

func (c Config) transport() (credentials.TransportCredentials, error) {
	if !c.secure() {
		return insecure.NewCredentials(), nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca: %s holds no PEM certificate", c.CA)
		}
	}
	if c.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, fmt.Errorf("cert and key: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return credentials.NewTLS(cfg), nil
}

// bearer is a token sent with every call.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity is false because loopback may be in clear text; Config.Validate refuses anything else.
func (bearer) RequireTransportSecurity() bool { return false }

// String keeps the token out of whatever prints it.
func (bearer) String() string { return "bearer token" }

package wire

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
)

// Config of a Client. Zero fields but Targets mean the defaults.
type Config struct {
	Targets     []string    // host:port, used round robin; required
	Connections int         // to each target; default 4
	TLS         *tls.Config // nil: plaintext. ServerName defaults to the target's host
	Authority   string      // the :authority of calls; default TLS.ServerName, else the target
	UserAgent   string      // default "surgegate-storm"
	// MaxInFlight bounds the calls that have no reply yet, and with it the memory: 1 KiB each and their messages.
	// A call over it fails at once with RESOURCE_EXHAUSTED. Default 200 000.
	MaxInFlight int
	// MaxMessage bounds a response, in bytes; a larger one is RESOURCE_EXHAUSTED. Default 4 MiB, as gRPC has it.
	MaxMessage int
	// DialTimeout bounds the way to a connection, up to the server's first frame. Default 10 s.
	DialTimeout time.Duration
	// BackoffBase is the wait after a first failed dial, which grows 1.6 times with each up to BackoffMax; ±20 % of
	// jitter. Defaults 100 ms and 5 s: a server that is back is to be found soon.
	BackoffBase, BackoffMax time.Duration
	// Silence is how long a connection that was asked something may say nothing before it is pinged, PingTimeout how long
	// it may then still say nothing before it is given up. Default 20 s each.
	Silence, PingTimeout time.Duration
	// PingInterval is the least time between two pings on a connection. gRPC servers close connections that ping more often
	// than they allow, by default once in five minutes. Default 5 min 10 s.
	PingInterval time.Duration
}

// WithDefaults returns the Config with its zero fields set.
func (c Config) WithDefaults() Config {
	orDefault(&c.Connections, 4)
	orDefault(&c.UserAgent, "surgegate-storm")
	orDefault(&c.MaxInFlight, 200_000)
	orDefault(&c.MaxMessage, 4<<20)
	orDefault(&c.DialTimeout, 10*time.Second)
	orDefault(&c.BackoffBase, 100*time.Millisecond)
	orDefault(&c.BackoffMax, 5*time.Second)
	orDefault(&c.Silence, 20*time.Second)
	orDefault(&c.PingTimeout, 20*time.Second)
	orDefault(&c.PingInterval, 5*time.Minute+10*time.Second)
	return c
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// maxHeader bounds what Config adds to each call's headers, so that they always fit into one frame.
const maxHeader = 1024

// Validate returns an error that names the field that is wrong. It wants defaults set.
func (c Config) Validate() error {
	if len(c.Targets) == 0 {
		return errors.New("wire: Targets is empty")
	}
	for _, t := range c.Targets {
		if _, _, err := net.SplitHostPort(t); err != nil {
			return fmt.Errorf("wire: Targets: %w", err)
		}
	}
	if len(c.Authority) > maxHeader || len(c.UserAgent) > maxHeader {
		return fmt.Errorf("wire: Authority and UserAgent may have %d bytes", maxHeader)
	}
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"Connections", int64(c.Connections)}, {"MaxInFlight", int64(c.MaxInFlight)}, {"MaxMessage", int64(c.MaxMessage)},
		{"DialTimeout", int64(c.DialTimeout)}, {"BackoffBase", int64(c.BackoffBase)}, {"BackoffMax", int64(c.BackoffMax)},
		{"Silence", int64(c.Silence)}, {"PingTimeout", int64(c.PingTimeout)}, {"PingInterval", int64(c.PingInterval)},
	} {
		if f.value <= 0 {
			return fmt.Errorf("wire: %s must be positive", f.name)
		}
	}
	if c.BackoffMax < c.BackoffBase {
		return errors.New("wire: BackoffMax is less than BackoffBase")
	}
	return nil
}

// Deps of a Client. Zero fields mean the system's clock and no log.
type Deps struct {
	Clock  clock.Clock
	Logger *slog.Logger
}

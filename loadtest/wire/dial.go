package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"time"

	"golang.org/x/net/http2"
)

// slot keeps one connection to a target. Its fields are guarded by the client's mu.
type slot struct {
	client *Client
	target string
	conn   *conn // that takes calls; nil: there is none
	// connecting says that calls may wait for this slot: it is being connected, and the last try did not fail.
	connecting bool
}

// keep connects again and again until ctx ends.
func (s *slot) keep(ctx context.Context) {
	c := s.client
	failures := 0
	for ctx.Err() == nil {
		conn, err := s.dial(ctx)
		if err != nil {
			if failures == 0 && ctx.Err() == nil {
				c.log.Warn("cannot connect", "target", s.target, "error", err)
			}
			c.failed(s, err)
			_ = c.clock.Sleep(ctx, s.backoff(failures)) // its error is ctx's
			failures++
			continue
		}
		begin := c.clock.Now()
		c.publish(s, conn)
		c.goroutines.Go(conn.read)
		c.goroutines.Go(conn.write)
		<-conn.retired
		if c.clock.Now().Sub(begin) > c.cfg.BackoffBase {
			failures = 0
			continue
		}
		// A server that sends each connection away at once must not make us spin. Calls may wait meanwhile.
		_ = c.clock.Sleep(ctx, s.backoff(failures))
		failures++
	}
	c.failed(s, errEnded)
}

func (s *slot) backoff(failures int) time.Duration {
	cfg := &s.client.cfg
	d := float64(cfg.BackoffBase) * math.Pow(1.6, float64(min(failures, 64)))
	return time.Duration(min(d, float64(cfg.BackoffMax)) * (0.8 + 0.4*rand.Float64()))
}

// What we tell the server: no pushes, a stream window that a usual response fits in, and so large a window for the connection that
// it never waits for us; both are opened again when half is used.
const (
	streamWindow = 256 << 10
	connWindow   = 16 << 20
	firstWindow  = 65535 // of both, before SETTINGS (RFC 9113, 6.9.2)
)

// dial connects, up to the server's SETTINGS.
func (s *slot) dial(ctx context.Context) (*conn, error) {
	c := s.client
	ctx, cancel := context.WithTimeout(ctx, c.cfg.DialTimeout)
	defer cancel()
	nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.target)
	if err != nil {
		return nil, err
	}
	// The handshakes end with ctx as well.
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	conn, err := s.handshake(ctx, nc)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = nc.Close() // the error that counts is err
		return nil, fmt.Errorf("%s: %w", s.target, err)
	}
	return conn, nil
}

func (s *slot) handshake(ctx context.Context, nc net.Conn) (*conn, error) {
	cfg := &s.client.cfg
	scheme, authority, raw := "http", cfg.Authority, nc
	if cfg.TLS != nil {
		scheme = "https"
		t := cfg.TLS.Clone()
		t.NextProtos = []string{"h2"}
		if t.ServerName == "" {
			t.ServerName, _, _ = net.SplitHostPort(s.target) // validated
		} else if authority == "" {
			authority = t.ServerName
		}
		over := tls.Client(nc, t)
		if err := over.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		if over.ConnectionState().NegotiatedProtocol != "h2" {
			return nil, errors.New("the server does not speak HTTP/2")
		}
		nc = over
	}
	if authority == "" {
		authority = s.target
	}
	conn := newConn(s, raw, nc, newHeaderBlock(scheme, authority, cfg.UserAgent))
	conn.out = append(conn.out, http2.ClientPreface...)
	err := errors.Join(conn.framer.WriteSettings(
		http2.Setting{ID: http2.SettingEnablePush, Val: 0},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: streamWindow},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: maxHeaderList},
	), conn.framer.WriteWindowUpdate(0, connWindow-firstWindow))
	if err != nil {
		return nil, err
	}
	if _, err := nc.Write(conn.out); err != nil {
		return nil, err
	}
	conn.out = conn.out[:0]
	f, err := conn.framer.ReadFrame()
	if err != nil {
		return nil, err
	}
	settings, ok := f.(*http2.SettingsFrame)
	if !ok || settings.IsAck() {
		return nil, fmt.Errorf("the server began with %v, not with SETTINGS", f.Header().Type)
	}
	return conn, conn.settings(settings)
}

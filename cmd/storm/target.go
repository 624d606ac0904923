package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
)

// ErrRefused is returned when nobody has said that the target is meant.
var ErrRefused = errors.New("target: not confirmed")

// Guard asks before a storm is sent to addresses that are not loopback or private.
type Guard struct {
	In       io.Reader // where the answer comes from
	Out      io.Writer // where the question goes
	Terminal bool      // whether there is somebody to ask
	Yes      bool      // they have said so already
	// Lookup resolves a host. Default: the system's.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

// Check returns nil when all targets (host:port) may be sent to. It reads In at most once for each host.
func (g Guard) Check(ctx context.Context, targets []string) error {
	if len(targets) == 0 {
		return errors.New("target: none given; name one as host:port, such as 127.0.0.1:7600")
	}
	var lines *bufio.Reader
	asked := map[string]bool{}
	for _, target := range targets {
		host, err := g.stranger(ctx, target)
		if err != nil {
			return err
		}
		if host == "" || asked[host] || g.Yes {
			continue
		}
		asked[host] = true
		if !g.Terminal {
			return fmt.Errorf("%w: %s is neither loopback nor private; if the system there is yours, say so with --yes", ErrRefused, target)
		}
		if lines == nil {
			lines = bufio.NewReader(g.In)
		}
		fmt.Fprintf(g.Out, "%s is neither loopback nor private. A storm at a system that is not yours is an attack.\nType its host name to go on: ", target)
		answer, err := lines.ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("target: %w", err)
		}
		if strings.TrimSpace(answer) != host {
			return fmt.Errorf("%w: that was not %q; nothing was sent", ErrRefused, host)
		}
	}
	return nil
}

// stranger returns the host of a target of which an address is not somebody's own; empty when all are.
func (g Guard) stranger(ctx context.Context, target string) (host string, err error) {
	host, port, err := net.SplitHostPort(target)
	if err != nil || host == "" || port == "" {
		return "", fmt.Errorf("target: %q is no host:port, such as 127.0.0.1:7600 or [::1]:7600", target)
	}
	addresses := []netip.Addr{}
	if ip, err := netip.ParseAddr(host); err == nil {
		addresses = append(addresses, ip)
	} else if addresses, err = g.lookup(ctx, host); err != nil || len(addresses) == 0 {
		return "", fmt.Errorf("target: %s cannot be resolved: %w", host, err)
	}
	for _, ip := range addresses {
		if ip = ip.Unmap(); !ip.IsLoopback() && !ip.IsPrivate() && !ip.IsLinkLocalUnicast() {
			return host, nil
		}
	}
	return "", nil
}

func (g Guard) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if g.Lookup != nil {
		return g.Lookup(ctx, host)
	}
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

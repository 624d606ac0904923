package edge

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/surgegate/surgegate/pkg/resetapi"
)

// trust is whose Client messages are believed.
type trust struct {
	prefixes []netip.Prefix
	names    map[string]bool // DNS names in lower case, URIs as they are
}

func newTrust(callers []string) (trust, error) {
	t := trust{names: map[string]bool{}}
	for i, c := range callers {
		if p, err := netip.ParsePrefix(c); err == nil {
			if p.Addr().Is4In6() {
				return t, fmt.Errorf("TrustedCallers[%d]: write %q as IPv4", i, c) // peers are compared as IPv4
			}
			t.prefixes = append(t.prefixes, p.Masked())
			continue
		}
		if a, err := netip.ParseAddr(c); err == nil {
			t.prefixes = append(t.prefixes, netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
			continue
		}
		switch {
		case strings.Contains(c, "://"):
			t.names[c] = true
		case c != "" && !strings.ContainsAny(c, "/:*@ "):
			t.names[strings.ToLower(c)] = true
		default:
			return t, fmt.Errorf("TrustedCallers[%d]: %q is no CIDR, address, DNS name or URI", i, c)
		}
	}
	return t, nil
}

// trustsRemoteAddresses says whether somebody off loopback is trusted by address alone.
func (t trust) trustsRemoteAddresses() bool {
	for _, p := range t.prefixes {
		if !p.Addr().IsLoopback() {
			return true
		}
	}
	return false
}

// caller returns the other end of the connection of the call that ctx belongs to.
func (t trust) caller(ctx context.Context) resetapi.Caller {
	pr, ok := peer.FromContext(ctx)
	if !ok {
		return resetapi.Caller{Addr: netip.AddrPortFrom(netip.IPv6Unspecified(), 0)}
	}
	addr := addrPort(pr.Addr)
	return resetapi.Caller{Addr: addr, IsTrusted: t.trusts(addr.Addr(), pr.AuthInfo)}
}

// trusts says whether a peer with this address and this certificate, if any, is trusted.
func (t trust) trusts(addr netip.Addr, auth credentials.AuthInfo) bool {
	for _, p := range t.prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	if len(t.names) == 0 {
		return false
	}
	info, ok := auth.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return false
	}
	leaf := info.State.VerifiedChains[0][0]
	for _, name := range leaf.DNSNames {
		if t.names[strings.ToLower(name)] {
			return true
		}
	}
	for _, uri := range leaf.URIs {
		if t.names[uri.String()] {
			return true
		}
	}
	return false
}

func peerAddrPort(ctx context.Context) netip.AddrPort {
	pr, ok := peer.FromContext(ctx)
	if !ok {
		return netip.AddrPort{}
	}
	return addrPort(pr.Addr)
}

func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
	}
	ap := tcp.AddrPort()
	// Without the zone: a link-local peer's interface is not part of who it is.
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

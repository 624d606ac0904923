package resetapi

import (
	"context"
	"net/netip"

	"github.com/surgegate/surgegate/pkg/gate"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// client returns on whose behalf a call is made: what a trusted caller says, otherwise the connection's address. What a trusted
// caller says of the address is not valid if it cannot be parsed: the gate then refuses it.
func (s *Service) client(ctx context.Context, c *resetv1.Client) gate.Client {
	caller := s.caller(ctx)
	if !caller.IsTrusted {
		if c != nil {
			s.metrics.ignoredClients.Inc()
		}
		return gate.Client{IP: caller.Addr.Addr()}
	}
	ip, _ := netip.ParseAddr(c.GetIp()) // the zero address is invalid
	return gate.Client{IP: ip.Unmap(), ID: c.GetId(), Locale: c.GetLocale(), Verdict: enumOf[gate.Verdict](c.GetVerdict())}
}

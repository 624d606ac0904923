package resetapi

import (
	"context"
	"net/netip"

	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/reset"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// client returns on whose behalf a call is made: what a trusted caller says, otherwise the connection's address.
func (s *Service) client(ctx context.Context, c *resetv1.Client, bad *reset.Violations) gate.Client {
	caller := s.caller(ctx)
	if !caller.IsTrusted {
		if c != nil {
			s.metrics.ignoredClients.Inc()
		}
		return gate.Client{IP: caller.Addr.Addr()}
	}
	if c.GetIp() == "" {
		bad.Add("client.ip", "required from a trusted caller")
		return gate.Client{}
	}
	ip, err := netip.ParseAddr(c.GetIp())
	if err != nil || ip.Zone() != "" || ip.IsUnspecified() {
		bad.Add("client.ip", "must be an IPv4 or IPv6 address without a zone")
	}
	if id := c.GetId(); id != "" {
		checkText(bad, "client.id", id, maxClientID)
	}
	checkLocale(bad, c.GetLocale())
	if v := c.GetVerdict(); v < resetv1.Verdict_VERDICT_UNSPECIFIED || v > resetv1.Verdict_VERDICT_SUSPECT {
		bad.Add("client.verdict", "unknown value")
	}
	return gate.Client{IP: ip.Unmap(), ID: c.GetId(), Locale: c.GetLocale(), Suspect: c.GetVerdict() == resetv1.Verdict_VERDICT_SUSPECT}
}

package crowd

import (
	"net/netip"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/surgegate/surgegate/loadtest/people"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// madeUp is a token and a ticket that no server has given out, for calls with nobody behind them.
const madeUp = "made-up-by-the-load-tester"

// message is a request as it goes over the wire.
func (c *Crowd) message(e *entry, op people.Op) []byte {
	var m proto.Message
	switch op {
	case people.OpStart:
		m = &resetv1.StartResetRequest{Identifier: c.identifier(e), Client: c.device(e)}
	case people.OpCheck:
		m = &resetv1.CheckTokenRequest{Token: e.madeUpFor(e.token), Client: c.device(e)}
	case people.OpComplete:
		r := &resetv1.CompleteResetRequest{
			Token: e.madeUpFor(e.token), NewPassword: c.behaviour.Password(e.person.ID), Client: c.device(e),
			Wait: durationpb.New(c.cfg.People.Wait), SignOut: c.behaviour.SignOut(&e.person),
		}
		if !e.lone {
			r.RequestId = c.behaviour.RequestID(&e.person)
		}
		m = r
	default:
		m = &resetv1.GetTicketRequest{TicketId: e.madeUpFor(e.ticket)}
	}
	data, _ := proto.Marshal(m) // fails on invalid UTF-8 alone: then a server refuses what is left, and that is counted
	return data
}

func (e *entry) madeUpFor(s string) string {
	if e.lone {
		return madeUp
	}
	return s
}

func (c *Crowd) identifier(e *entry) string {
	if e.person.Attacker() {
		return e.person.Nobody()
	}
	if e.lone {
		return c.deps.Identifier(e.person.ID)
	}
	return e.identifier
}

// device is what the front end says of the caller. An office has one address in 12.0.0.0/8 for all its people.
func (c *Crowd) device(e *entry) *resetv1.Client {
	d := c.behaviour.Device(&e.person)
	if e.office > 0 {
		d.Ip = netip.AddrFrom4([4]byte{12, byte(e.office >> 16), byte(e.office >> 8), byte(e.office)}).String()
	}
	if e.client != "" {
		d.Id = e.client
	}
	return d
}

package people

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/google/uuid"

	"github.com/surgegate/surgegate/loadtest/model"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// attackerNumbers keep attackers' draws apart from people's.
const attackerNumbers = 1 << 62

// Password is what a person chooses: the same in every try and in every arm.
func (b *Behaviour) Password(person uint64) string {
	return fmt.Sprintf("quiet-otter-%016x", b.draw.Bits(person, model.Draw{Kind: drawPassword}))
}

// Device is what the person's front end says of them.
func (b *Behaviour) Device(p *Person) *resetv1.Client {
	device := &resetv1.Client{Ip: p.Address().String(), Id: p.ClientID()}
	switch {
	case !p.Attacker():
		device.Locale, device.Verdict = "en", resetv1.Verdict_VERDICT_HUMAN
	case b.Flagged(p):
		device.Verdict = resetv1.Verdict_VERDICT_SUSPECT
	}
	return device
}

// Address is where they call from: people are in 10.0.0.0/8, attackers in 11.0.0.0/8, each with one of their own, up to 16
// million.
func (p *Person) Address() netip.Addr {
	network, n := byte(10), p.ID
	if p.Attacker() {
		network, n = 11, p.ID-attackerNumbers
	}
	return netip.AddrFrom4([4]byte{network, byte(n >> 16), byte(n >> 8), byte(n)})
}

// ClientID is their device's.
func (p *Person) ClientID() string {
	if p.Attacker() {
		return "bot-" + strconv.FormatUint(p.ID-attackerNumbers, 10)
	}
	return "device-" + strconv.FormatUint(p.ID, 10)
}

// Flagged tells whether the front end's own bot detection suspects them.
func (b *Behaviour) Flagged(p *Person) bool {
	return p.Attacker() && b.uniform(p, drawFlagged, 0) < b.cfg.BotFlagged
}

// Nobody is the identifier that an attacker tries.
func (p *Person) Nobody() string {
	return "nobody-" + strconv.FormatUint(p.ID-attackerNumbers, 10) + "@elsewhere.example"
}

// SignOut is whether the person ticks "sign out connected devices".
func (b *Behaviour) SignOut(p *Person) resetv1.SignOut {
	if b.uniform(p, drawSignOut, 0) < b.cfg.SignOut {
		return resetv1.SignOut_SIGN_OUT_EVERYWHERE
	}
	return resetv1.SignOut_SIGN_OUT_KEEP
}

// RequestID is one UUID for each link used, as a front end that keeps its form open makes it.
func (b *Behaviour) RequestID(p *Person) string {
	n := model.Draw{Kind: drawRequestID, Nth: p.nth()}
	var id uuid.UUID
	for i := range 8 {
		id[i] = byte(b.draw.Bits(p.ID, n) >> (8 * i))
		id[8+i] = byte(b.draw.Bits(p.ID+1, n) >> (8 * i))
	}
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // version 4, RFC 4122
	return id.String()
}

// The draws of a person.
const (
	drawPassword uint32 = iota + 100
	drawImpatient
	drawResend
	drawResendAt
	drawRead
	drawType
	drawComeBack
	drawReturn
	drawBackoff
	drawSignOut
	drawRequestID
	drawFlagged
)

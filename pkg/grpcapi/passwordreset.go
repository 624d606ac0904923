package grpcapi

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/reset"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// Bounds of fields, in bytes where not said otherwise.
const (
	maxIdentifier = 320 // RFC 3696 erratum 1690: 64 + @ + 255
	maxClientID   = 128
	maxLocale     = 35 // RFC 5646, 4.4.1
	maxToken      = 2 << 10
	maxPassword   = 4 << 10 // 256 characters of 4 bytes, decomposed, fit several times
	maxTicketID   = 256
	maxWait       = 30 * time.Second
)

// Gate is the request side as the edge uses it; *gate.Gate is one.
type Gate interface {
	StartReset(ctx context.Context, r gate.StartRequest) (gate.Answer, error)
	CheckToken(ctx context.Context, token string, c gate.Client) (time.Time, error)
	CompleteReset(ctx context.Context, r gate.CompleteRequest) (gate.Answer, error)
	GetTicket(ctx context.Context, id string) (gate.Answer, error)
	WatchTicket(ctx context.Context, id string, send func(reset.Ticket) error) error
}

// passwordReset implements surgegate.reset.v1.PasswordReset.
type passwordReset struct {
	resetv1.UnimplementedPasswordResetServer
	gate    Gate
	trust   trust
	watches *watches
	metrics *metrics
}

// StartReset implements the call.
func (p *passwordReset) StartReset(ctx context.Context, r *resetv1.StartResetRequest) (*resetv1.StartResetResponse, error) {
	var bad reset.Violations
	checkText(&bad, "identifier", r.GetIdentifier(), maxIdentifier)
	client := p.client(ctx, r.GetClient(), &bad)
	wait := checkWait(&bad, r.GetWait())
	if err := bad.Err(); err != nil {
		return nil, err
	}
	a, err := p.gate.StartReset(ctx, gate.StartRequest{Identifier: r.GetIdentifier(), Client: client, Wait: wait})
	if err != nil {
		return nil, err
	}
	return &resetv1.StartResetResponse{Ticket: protoTicket(a.Ticket), PollAfter: protoPoll(a)}, nil
}

// CheckToken implements the call.
func (p *passwordReset) CheckToken(ctx context.Context, r *resetv1.CheckTokenRequest) (*resetv1.CheckTokenResponse, error) {
	var bad reset.Violations
	checkToken(&bad, r.GetToken())
	client := p.client(ctx, r.GetClient(), &bad)
	if err := bad.Err(); err != nil {
		return nil, err
	}
	expire, err := p.gate.CheckToken(ctx, r.GetToken(), client)
	if err != nil {
		return nil, err
	}
	return &resetv1.CheckTokenResponse{ExpireTime: timestamppb.New(expire)}, nil
}

// CompleteReset implements the call.
func (p *passwordReset) CompleteReset(ctx context.Context, r *resetv1.CompleteResetRequest) (*resetv1.CompleteResetResponse, error) {
	var bad reset.Violations
	checkToken(&bad, r.GetToken())
	switch n := len(r.GetNewPassword()); {
	case n == 0:
		bad.Add("new_password", "required")
	case n > maxPassword:
		bad.Add("new_password", "at most 4096 bytes")
	}
	if s := r.GetSignOut(); s < resetv1.SignOut_SIGN_OUT_UNSPECIFIED || s > resetv1.SignOut_SIGN_OUT_EVERYWHERE {
		bad.Add("sign_out", "unknown value")
	}
	client := p.client(ctx, r.GetClient(), &bad)
	wait := checkWait(&bad, r.GetWait())
	requestID := r.GetRequestId()
	if requestID != "" {
		// uuid.Parse takes braces and urn: too; those are other spellings of one id, which a replay must not depend on.
		id, err := uuid.Parse(requestID)
		if err != nil || len(requestID) != 36 {
			bad.Add("request_id", "must be a UUID such as 123e4567-e89b-12d3-a456-426614174000, or empty")
		}
		requestID = id.String()
	}
	if err := bad.Err(); err != nil {
		return nil, err
	}
	a, err := p.gate.CompleteReset(ctx, gate.CompleteRequest{
		Token: r.GetToken(), NewPassword: r.GetNewPassword(), SignOut: reset.SignOut(r.GetSignOut()),
		Client: client, Wait: wait, RequestID: requestID,
	})
	if err != nil {
		return nil, err
	}
	return &resetv1.CompleteResetResponse{Ticket: protoTicket(a.Ticket), PollAfter: protoPoll(a), Replayed: a.Replayed}, nil
}

// GetTicket implements the call.
func (p *passwordReset) GetTicket(ctx context.Context, r *resetv1.GetTicketRequest) (*resetv1.GetTicketResponse, error) {
	if err := checkTicketID(r.GetTicketId()); err != nil {
		return nil, err
	}
	a, err := p.gate.GetTicket(ctx, r.GetTicketId())
	if err != nil {
		return nil, err
	}
	return &resetv1.GetTicketResponse{Ticket: protoTicket(a.Ticket), PollAfter: protoPoll(a)}, nil
}

// WatchTicket implements the call. A peer that does not read blocks its own Send only, and is gone with its connection
// at the latest at MaxConnectionAge and its grace.
func (p *passwordReset) WatchTicket(r *resetv1.WatchTicketRequest, stream grpc.ServerStreamingServer[resetv1.WatchTicketResponse]) error {
	if err := checkTicketID(r.GetTicketId()); err != nil {
		return err
	}
	ctx := stream.Context()
	done, ok := p.watches.begin(peerAddrPort(ctx))
	if !ok {
		return &reset.Error{Kind: reset.KindLimitClient, Detail: "too many tickets are watched on this connection; poll them instead"}
	}
	p.metrics.watches.Inc()
	defer func() {
		done()
		p.metrics.watches.Dec()
	}()
	return p.gate.WatchTicket(ctx, r.GetTicketId(), func(t reset.Ticket) error {
		if err := stream.Send(&resetv1.WatchTicketResponse{Ticket: protoTicket(t)}); err != nil {
			return &reset.Error{Kind: reset.KindCanceled, Cause: err} // the only way that Send fails
		}
		return nil
	})
}

// client tells on whose behalf a call is made: what a trusted caller says, else the peer.
func (p *passwordReset) client(ctx context.Context, c *resetv1.Client, bad *reset.Violations) gate.Client {
	addr, trusted := p.trust.caller(ctx)
	if !trusted {
		if c != nil {
			p.metrics.ignoredClients.Inc()
		}
		return gate.Client{IP: addr}
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

// caller returns the peer's address and whether its Client messages are believed.
func (t trust) caller(ctx context.Context) (netip.Addr, bool) {
	pr, ok := peer.FromContext(ctx)
	if !ok {
		return netip.IPv6Unspecified(), false
	}
	addr := addrPort(pr.Addr).Addr()
	for _, p := range t.prefixes {
		if p.Contains(addr) {
			return addr, true
		}
	}
	if len(t.names) == 0 {
		return addr, false
	}
	info, ok := pr.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return addr, false
	}
	leaf := info.State.VerifiedChains[0][0]
	for _, name := range leaf.DNSNames {
		if t.names[strings.ToLower(name)] {
			return addr, true
		}
	}
	for _, uri := range leaf.URIs {
		if t.names[uri.String()] {
			return addr, true
		}
	}
	return addr, false
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

// watches counts the tickets watched by connection. The peer's address and port name the connection: no stats handler
// is needed, which would cost every call.
type watches struct {
	limit int
	mu    sync.Mutex
	open  map[netip.AddrPort]int
}

func newWatches(limit int) *watches { return &watches{limit: limit, open: map[netip.AddrPort]int{}} }

func (w *watches) begin(conn netip.AddrPort) (done func(), ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open[conn] >= w.limit {
		return nil, false
	}
	w.open[conn]++
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.open[conn]--; w.open[conn] == 0 {
			delete(w.open, conn)
		}
	}, true
}

// checkText wants 1 to limit bytes that say something. grpc-go has checked that they are UTF-8.
func checkText(bad *reset.Violations, field, s string, limit int) {
	switch {
	case strings.TrimSpace(s) == "":
		bad.Add(field, "required")
	case len(s) > limit:
		bad.Add(field, "too long")
	case strings.IndexFunc(strings.TrimSpace(s), unicode.IsControl) >= 0:
		bad.Add(field, "must not have control characters")
	}
}

func checkToken(bad *reset.Violations, token string) {
	switch {
	case token == "":
		bad.Add("token", "required")
	case len(token) > maxToken:
		bad.Add("token", "too long")
	}
}

func checkTicketID(id string) error {
	var bad reset.Violations
	switch {
	case id == "":
		bad.Add("ticket_id", "required")
	case len(id) > maxTicketID:
		bad.Add("ticket_id", "too long")
	}
	return bad.Err()
}

func checkWait(bad *reset.Violations, d *durationpb.Duration) time.Duration {
	if d == nil {
		return 0
	}
	if !d.IsValid() || d.AsDuration() < 0 || d.AsDuration() > maxWait {
		bad.Add("wait", "must be between 0 and 30 s")
		return 0
	}
	return d.AsDuration()
}

// checkLocale wants the letters of a BCP 47 tag; which tags there are is the templates' to know.
func checkLocale(bad *reset.Violations, s string) {
	ok := len(s) <= maxLocale
	for i := 0; i < len(s) && ok; i++ {
		c := s[i]
		ok = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
	}
	if !ok {
		bad.Add("client.locale", "must be a BCP 47 language tag such as pt-BR")
	}
}

func protoTicket(t reset.Ticket) *resetv1.Ticket {
	p := &resetv1.Ticket{
		Id:         t.ID,
		State:      resetv1.State(t.State),
		AcceptTime: timestamppb.New(t.AcceptTime),
		UpdateTime: timestamppb.New(t.UpdateTime),
		Position:   t.Position,
		Reason:     resetv1.Reason(t.Reason),
	}
	if t.ETA != nil {
		p.Eta = &resetv1.Eta{Low: durationpb.New(t.ETA.Low), High: durationpb.New(t.ETA.High)}
	}
	return p
}

func protoPoll(a gate.Answer) *durationpb.Duration {
	if a.Ticket.State.Final() {
		return nil
	}
	return durationpb.New(a.PollAfter)
}

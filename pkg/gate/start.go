package gate

import (
	"context"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/seal"
)

const (
	maxIdentifier = 320 // bytes: 64 of a mailbox, @, 255 of a domain
	maxClientID   = 128 // bytes
	maxLocale     = 35  // bytes (RFC 5646, 4.4.1)
)

// StartReset asks for a link to be mailed to whoever owns the identifier, and answers with a ticket of this call's own.
// Known and unknown identifiers take the same way and the same time.
func (g *Gate) StartReset(ctx context.Context, r StartRequest) (Answer, error) {
	begin := g.clock.Now()
	verdict, err := g.start(ctx, begin, r)
	if err != nil {
		g.decided(ctx, callStart, r.Client, err)
		g.metrics.count(callStart, "", err, g.clock.Now().Sub(begin), g.d.Tracer.Of(ctx))
		return Answer{}, err
	}
	g.metrics.count(callStart, verdictOf(verdict), nil, g.clock.Now().Sub(begin), g.d.Tracer.Of(ctx))
	return g.answer(ctx, verdict, r.Wait), nil
}

func (g *Gate) start(ctx context.Context, now time.Time, r StartRequest) (queue.Verdict, error) {
	if err := g.ready(); err != nil {
		return queue.Verdict{}, err
	}
	permit, err := g.d.Admission.Admit(now, request(admission.OpStart, r.Client))
	if err != nil {
		return queue.Verdict{}, err
	}
	verdict, err := g.enqueueStart(ctx, now, r)
	if err != nil {
		return queue.Verdict{}, g.refused(permit, err)
	}
	g.startSince.Add(1)
	return verdict, nil
}

func (g *Gate) enqueueStart(ctx context.Context, now time.Time, r StartRequest) (queue.Verdict, error) {
	if err := checkClient(r.Client); err != nil {
		return queue.Verdict{}, err
	}
	identifier, err := normalise(r.Identifier)
	if err != nil {
		return queue.Verdict{}, err
	}
	class := classOf(r.Client)
	eta := g.newcomer(g.view.Load(), reset.LaneStart, class, now)
	if over, full := g.cfg.over(reset.LaneStart, eta); full {
		return queue.Verdict{}, refuseFull(over, g.missed(reset.LaneStart, eta, over))
	}
	job := reset.Job{
		ID:         reset.NewID(),
		Ticket:     reset.NewID(),
		Lane:       reset.LaneStart,
		Class:      class,
		Key:        g.d.Index.Identifier(identifier),
		AcceptTime: now.UTC().Truncate(time.Microsecond),
	}
	payload := reset.StartPayload{Identifier: identifier, Locale: r.Client.Locale, Purpose: reset.PurposeLink}
	job.Payload, err = g.d.Sealer.Seal(ctx, seal.AudiencePII, binding(job), payload.Marshal())
	if err != nil {
		return queue.Verdict{}, g.queueError(err, reset.LaneStart)
	}
	return g.enqueue(ctx, queue.Item{Job: job})
}

// enqueue makes one item durable. The job carries the call's trace, not that of the commit: it is the call that its work is
// linked to.
func (g *Gate) enqueue(ctx context.Context, item queue.Item) (queue.Verdict, error) {
	item.Job.Trace = g.d.Tracer.Of(ctx)
	ctx, span := g.d.Tracer.Enqueue(ctx, item.Job.Lane)
	verdict := g.d.Queue.Enqueue(ctx, []queue.Item{item})[0]
	if verdict.Err != nil {
		refusal := g.queueError(verdict.Err, item.Job.Lane)
		span.Verdict(kindVerdict(refusal.Kind), true)
		return queue.Verdict{}, refusal
	}
	span.Verdict(verdictOf(verdict), false)
	return verdict, nil
}

// normalise returns the identifier exactly as it is looked up: trimmed and in NFC; case is the store's business.
func normalise(identifier string) (string, error) {
	const field = "identifier"
	identifier = strings.TrimSpace(identifier)
	switch {
	case identifier == "":
		return "", invalid(field, "An identifier is an e-mail address or a user name: it must not be empty.")
	case len(identifier) > maxIdentifier:
		return "", invalid(field, "An identifier has at most 320 bytes.")
	case !utf8.ValidString(identifier):
		return "", invalid(field, "An identifier is valid UTF-8.")
	case strings.ContainsFunc(identifier, unicode.IsControl):
		return "", invalid(field, "An identifier holds no control characters.")
	}
	if identifier = norm.NFC.String(identifier); len(identifier) > maxIdentifier { // NFC makes some characters longer
		return "", invalid(field, "An identifier has at most 320 bytes in NFC.")
	}
	return identifier, nil
}

func checkClient(c Client) error {
	switch {
	case len(c.ID) > maxClientID:
		return invalid("client.id", "A client id has at most 128 bytes.")
	case len(c.Locale) > maxLocale || strings.ContainsFunc(c.Locale, notInTag):
		return invalid("client.locale", "A locale is a BCP 47 tag of at most 35 bytes.")
	default:
		return nil
	}
}

// notInTag tells what no BCP 47 tag holds; the underscore is how many platforms spell its hyphen.
func notInTag(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

func classOf(c Client) reset.Class {
	if c.Suspect {
		return reset.ClassSuspect
	}
	return reset.ClassInteractive
}

func request(op admission.Op, c Client) admission.Request {
	return admission.Request{Op: op, IP: c.IP, ClientID: c.ID, Suspect: c.Suspect}
}

// binding is what a sealed payload is bound to; the worker builds the same from the job that it leases.
func binding(j reset.Job) seal.Binding {
	return seal.Binding{Job: j.ID, Ticket: j.Ticket, Account: j.Account, Lane: j.Lane, AcceptTime: j.AcceptTime, ExpireTime: j.ExpireTime}
}

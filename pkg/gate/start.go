package gate

import (
	"context"
	"time"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/seal"
)

// StartReset asks for a link to be mailed to whoever owns the identifier. The answer has a ticket of this call's own. Known and unknown
// identifiers take the same way and the same time. Errors are *reset.Error, or reset.Violations that name every bad field.
func (g *Gate) StartReset(ctx context.Context, r StartRequest) (Answer, error) {
	begin := g.clock.Now()
	verdict, err := g.start(ctx, begin, r)
	if err != nil {
		g.logRefusal(ctx, callStart, r.Client, err)
		g.metrics.count(callStart, "", err, g.clock.Now().Sub(begin), g.d.Tracer.Of(ctx))
		return Answer{}, err
	}
	g.metrics.count(callStart, verdictOf(verdict), nil, g.clock.Now().Sub(begin), g.d.Tracer.Of(ctx))
	return g.answer(ctx, verdict, r.Wait), nil
}

func (g *Gate) start(ctx context.Context, now time.Time, r StartRequest) (queue.Verdict, error) {
	identifier, err := r.check()
	if err != nil {
		return queue.Verdict{}, err
	}
	if err := g.checkOpen(); err != nil {
		return queue.Verdict{}, err
	}
	permit, err := g.d.Admission.Admit(now, admissionRequest(admission.OpStart, r.Client))
	if err != nil {
		return queue.Verdict{}, err
	}
	verdict, err := g.enqueueStart(ctx, now, identifier, r.Client)
	if err != nil {
		return queue.Verdict{}, g.settleRefusal(permit, err)
	}
	g.startsSinceView.Add(1)
	return verdict, nil
}

// enqueueStart makes a start durable if it can be finished in time. identifier is as it is looked up.
func (g *Gate) enqueueStart(ctx context.Context, now time.Time, identifier string, c Client) (queue.Verdict, error) {
	class := classOf(c)
	eta := g.newcomerETA(g.view.Load(), reset.LaneStart, class, now)
	if over, late := g.cfg.missedBy(reset.LaneStart, eta); late {
		return queue.Verdict{}, refuseFull(over, g.missedBound(reset.LaneStart, eta, over))
	}
	job := reset.Job{
		ID:         reset.NewID(),
		Ticket:     reset.NewID(),
		Lane:       reset.LaneStart,
		Class:      class,
		Key:        g.d.Index.Identifier(identifier),
		AcceptTime: now.UTC().Truncate(time.Microsecond),
	}
	payload := reset.StartPayload{Identifier: identifier, Locale: c.Locale, Purpose: reset.PurposeLink}
	sealed, err := g.d.Sealer.Seal(ctx, seal.AudiencePII, seal.BindingOf(job), payload.Marshal())
	if err != nil {
		return queue.Verdict{}, g.queueError(err, reset.LaneStart)
	}
	job.Payload = sealed
	return g.enqueue(ctx, queue.Item{Job: job})
}

// enqueue makes one item durable. The job carries the trace of the call, not that of the commit, because its work is linked to the
// call.
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

func classOf(c Client) reset.Class {
	if c.Verdict == VerdictSuspect {
		return reset.ClassSuspect
	}
	return reset.ClassInteractive
}

func admissionRequest(op admission.Op, c Client) admission.Request {
	return admission.Request{Op: op, IP: c.IP, ClientID: c.ID, Suspect: c.Verdict == VerdictSuspect}
}

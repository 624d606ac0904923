package resetapi

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/reset"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// waitOf returns how long an answer may be held. A duration that protobuf does not allow becomes −1, which the gate refuses.
func waitOf(d *durationpb.Duration) time.Duration {
	switch {
	case d == nil:
		return 0
	case !d.IsValid():
		return -1
	default:
		return d.AsDuration()
	}
}

// enumOf converts an enum to the gate's type with the same values. A number that does not fit becomes 255, which the gate refuses.
func enumOf[To ~uint8, From ~int32](v From) To {
	if v < 0 || v > 255 {
		return 255
	}
	return To(v)
}

// protoTicket is a ticket for the wire.
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

// protoPoll is when to ask again, for the wire; nil for a final ticket.
func protoPoll(a gate.Answer) *durationpb.Duration {
	if a.Ticket.State.Final() {
		return nil
	}
	return durationpb.New(a.PollAfter)
}

package resetapi

import (
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/reset"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

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

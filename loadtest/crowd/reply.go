package crowd

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/surgegate/surgegate/loadtest/people"
	"github.com/surgegate/surgegate/loadtest/wire"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// unreadable is the reason of an answer that is no message of its kind.
const unreadable = "UNREADABLE_ANSWER"

// read takes out of a reply what people want to know. The reply is gone afterwards.
func (o *call) read(r *wire.Reply) {
	o.answer.Code = r.Code
	if r.Code != codes.OK {
		o.answer.RetryAfter, _ = r.RetryDelay()
		if r.PushbackSet {
			o.answer.Pushback = r.Pushback
		}
		o.reason = r.Reason()
		return
	}
	var (
		ticket *resetv1.Ticket
		err    error
	)
	switch o.op {
	case people.OpComplete:
		var m resetv1.CompleteResetResponse
		err = proto.Unmarshal(r.Message, &m)
		ticket, o.answer.PollAfter = m.GetTicket(), m.GetPollAfter().AsDuration()
	case people.OpTicket:
		var m resetv1.GetTicketResponse
		err = proto.Unmarshal(r.Message, &m)
		ticket, o.answer.PollAfter = m.GetTicket(), m.GetPollAfter().AsDuration()
	}
	if err != nil {
		o.answer, o.reason = people.Answer{Code: codes.Internal}, unreadable
		return
	}
	o.answer.State, o.ticket = ticket.GetState(), ticket.GetId()
}

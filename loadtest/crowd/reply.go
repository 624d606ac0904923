package crowd

import (
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/surgegate/surgegate/loadtest/people"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// refused reads what a refusal says: its details, and pushback ("" when there was none).
func refused(code codes.Code, s *spb.Status, pushback string) Reply {
	r := Reply{Answer: people.Answer{Code: code}}
	for _, detail := range s.GetDetails() {
		switch {
		case detail.MessageIs((*errdetails.RetryInfo)(nil)):
			var info errdetails.RetryInfo
			if detail.UnmarshalTo(&info) == nil {
				r.RetryAfter = info.GetRetryDelay().AsDuration()
			}
		case detail.MessageIs((*errdetails.ErrorInfo)(nil)):
			var info errdetails.ErrorInfo
			if detail.UnmarshalTo(&info) == nil {
				r.Reason = info.GetReason()
			}
		}
	}
	if pushback == "" {
		return r
	}
	ms, err := strconv.Atoi(pushback)
	r.Pushback = time.Duration(ms) * time.Millisecond
	if err != nil {
		r.Pushback = -1 // gRFC A6: what cannot be read means "do not retry"
	}
	return r
}

// worked reads the ticket of an answer. What cannot be read is the server's fault: codes.Internal.
func worked(op people.Op, message []byte) Reply {
	var (
		ticket *resetv1.Ticket
		r      Reply
		err    error
	)
	switch op {
	case people.OpComplete:
		var m resetv1.CompleteResetResponse
		err = proto.Unmarshal(message, &m)
		ticket, r.PollAfter = m.GetTicket(), m.GetPollAfter().AsDuration()
	case people.OpTicket:
		var m resetv1.GetTicketResponse
		err = proto.Unmarshal(message, &m)
		ticket, r.PollAfter = m.GetTicket(), m.GetPollAfter().AsDuration()
	}
	if err != nil {
		return Reply{Answer: people.Answer{Code: codes.Internal}, Reason: "UNREADABLE_ANSWER"}
	}
	r.State, r.Ticket = ticket.GetState(), ticket.GetId()
	return r
}

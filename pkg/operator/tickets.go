package operator

import (
	"context"
	"fmt"
	"strings"

	"github.com/surgegate/surgegate/pkg/reset"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// GetTicket implements the call.
func (s *Service) GetTicket(ctx context.Context, r *operatorv1.GetTicketRequest) (*operatorv1.GetTicketResponse, error) {
	var bad reset.Violations
	if id := r.GetTicketId(); id == "" {
		bad.Add("ticket_id", "required: as the person or the front end has it")
	} else if len(id) > maxTicketID {
		bad.Add("ticket_id", fmt.Sprintf("must be at most %d bytes", maxTicketID))
	}
	if err := bad.Err(); err != nil {
		return nil, err
	}
	t, err := s.d.Gate.Inspect(ctx, r.GetTicketId())
	if err != nil {
		return nil, err
	}
	resp := &operatorv1.GetTicketResponse{
		State: strings.ToUpper(t.Ticket.State.String()), Position: t.Ticket.Position, Retrying: t.Retrying,
		AcceptTime: timestamp(t.Ticket.AcceptTime), UpdateTime: timestamp(t.Ticket.UpdateTime),
	}
	if t.Ticket.Reason != reset.ReasonNone {
		resp.Reason = strings.ToUpper(t.Ticket.Reason.String())
	}
	if t.Lane != 0 {
		resp.Lane = t.Lane.String()
	}
	if eta := t.Ticket.ETA; eta != nil {
		resp.EtaLow, resp.EtaHigh = duration(eta.Low), duration(eta.High)
	}
	return resp, nil
}

// maxTicketID bounds a ticket id, in bytes. Real ones are much shorter.
const maxTicketID = 512

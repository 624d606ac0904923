package edge

import (
	"context"

	"google.golang.org/grpc/tap"
)

// boundCall gives every unary call a deadline before its request is read. Without one, a request that trickles in would hold its
// stream for as long as its connection lives. It is a tap handle: the only place whose context the transport uses.
func (s *Server) boundCall(ctx context.Context, info *tap.Info) (context.Context, error) {
	if !s.unary[info.FullMethodName] {
		return ctx, nil
	}
	if deadline, ok := ctx.Deadline(); ok && deadline.Sub(s.clock.Now()) <= s.cfg.CallTimeout {
		return ctx, nil
	}
	// ctx is the context of the stream and ends with it, which stops this timer too. To cancel it as well would cost a goroutine a call.
	bounded, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout) //nolint:gosec // the stream's end stops the timer
	_ = cancel                                                     // see above
	return bounded, nil
}

package people

import (
	"context"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surgegate/surgegate/loadtest/draw"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// attempt is one call over one connection.
type attempt func(ctx context.Context, client resetv1.PasswordResetClient, opts ...grpc.CallOption) error

// refusal is what a failed step says about trying again.
type refusal struct {
	code  codes.Code
	after time.Duration // RetryInfo; 0 when there was none
}

// never tells whether the same call can not work later either.
func (r refusal) never() bool {
	switch r.code {
	case codes.InvalidArgument, codes.FailedPrecondition, codes.NotFound, codes.PermissionDenied, codes.Unimplemented, codes.Unauthenticated:
		return true
	default:
		return false
	}
}

// step makes the attempts of one step: a client at work. The refusal is nil when one of them worked.
func (p *person) step(ctx context.Context, op Op, call attempt) *refusal {
	var last refusal
	for i := range p.crowd.cfg.Attempts {
		var pushback time.Duration
		var stop bool
		last, pushback, stop = p.once(ctx, op, call)
		if last.code == codes.OK {
			return nil
		}
		if last.never() || ctx.Err() != nil || i+1 == p.crowd.cfg.Attempts {
			break
		}
		if p.impatient {
			continue
		}
		if stop {
			break
		}
		delay := time.Duration(p.uniform(drawBackoff) * float64(p.crowd.cfg.Backoff<<i))
		if err := p.crowd.deps.Clock.Sleep(ctx, max(delay, pushback, last.after)); err != nil {
			break
		}
	}
	return &last
}

// once makes one call. stop means that the server's pushback forbids another attempt.
func (p *person) once(ctx context.Context, op Op, call attempt) (r refusal, pushback time.Duration, stop bool) {
	clock := p.crowd.deps.Clock
	var trailer metadata.MD
	timed, cancel := context.WithTimeout(ctx, p.crowd.cfg.Deadline)
	defer cancel()
	sent := clock.Now()
	p.crowd.deps.Observer.Sent(op, p.attacker)
	err := call(timed, p.crowd.deps.Client(), grpc.Trailer(&trailer))
	if err != nil && ctx.Err() != nil {
		return refusal{code: codes.Canceled}, 0, true // the run is over: nobody's failure
	}
	s := status.Convert(err)
	p.crowd.deps.Observer.Called(Call{Op: op, Sent: sent, End: clock.Now(), Code: s.Code(), FromAttack: p.attacker})
	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			r.after = info.GetRetryDelay().AsDuration()
		}
	}
	r.code = s.Code()
	if values := trailer.Get("grpc-retry-pushback-ms"); len(values) > 0 {
		ms, err := strconv.Atoi(values[0])
		return r, time.Duration(max(ms, 0)) * time.Millisecond, err != nil || ms < 0
	}
	return r, 0, false
}

// uniform is the person's next draw of a kind.
func (p *person) uniform(kind uint32) float64 {
	return p.crowd.draw.Uniform(p.id, p.next(kind))
}

func (p *person) logNormal(kind uint32, median time.Duration, sigma float64) time.Duration {
	return time.Duration(p.crowd.draw.LogNormal(p.id, p.next(kind), float64(median), sigma))
}

func (p *person) next(kind uint32) draw.Number {
	if p.draws == nil {
		p.draws = map[uint32]uint32{}
	}
	n := draw.Number{Kind: kind, Nth: p.draws[kind]}
	p.draws[kind]++
	return n
}

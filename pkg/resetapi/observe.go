package resetapi

import (
	"context"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/surgegate/surgegate/pkg/token"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// Observed is a unary call that has arrived, before anything was decided about it.
type Observed struct {
	At       time.Time
	Method   string        // such as "StartReset"
	Key      string        // the identifier, account, ticket id or address that it is about
	Attempt  uint32        // the number of attempts before this one, as the caller's gRPC library says
	Deadline time.Duration // the time left to the caller's deadline; 0: it has none, or a longer one than the server's own
}

// attemptsHeader is where a gRPC library says how often it has tried the call before (gRFC A6).
const attemptsHeader = "grpc-previous-rpc-attempts"

// Observe returns an interceptor that passes each unary call to observer, which must not block. own is the deadline that the server
// gives to calls without one: a deadline of about that length is not the caller's.
func Observe(now func() time.Time, own time.Duration, observer func(Observed)) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		o := Observed{At: now()}
		switch r := req.(type) {
		case *resetv1.StartResetRequest:
			o.Method, o.Key = "StartReset", r.GetIdentifier()
		case *resetv1.CheckTokenRequest:
			o.Method, o.Key = "CheckToken", accountOr(r.GetToken(), r.GetClient().GetIp())
		case *resetv1.CompleteResetRequest:
			o.Method, o.Key = "CompleteReset", accountOr(r.GetToken(), r.GetClient().GetIp())
		case *resetv1.GetTicketRequest:
			o.Method, o.Key = "GetTicket", r.GetTicketId()
		default:
			return handler(ctx, req)
		}
		if deadline, ok := ctx.Deadline(); ok {
			if left := deadline.Sub(o.At); left < own-time.Second {
				o.Deadline = left
			}
		}
		if values := metadata.ValueFromIncomingContext(ctx, attemptsHeader); len(values) > 0 {
			n, _ := strconv.ParseUint(values[0], 10, 16) // what cannot be read is a first attempt
			o.Attempt = uint32(n)
		}
		observer(o)
		return handler(ctx, req)
	}
}

// accountOr returns the account that the token is for, and address if it is no token: so calls with one account's tokens have one key.
func accountOr(tok, address string) string {
	if account, ok := token.AccountOf(tok); ok {
		return account
	}
	return address
}

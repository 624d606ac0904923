package crowd

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surgegate/surgegate/loadtest/people"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// TEMPORARY until wire.
type GRPC struct {
	Conns []*grpc.ClientConn
	next  atomic.Uint64
	wg    sync.WaitGroup
}

type raw struct{}

func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (raw) Name() string { return "proto" }

var _ encoding.Codec = raw{}

func (g *GRPC) Call(op people.Op, message []byte, deadline time.Duration, done func(Reply)) {
	g.wg.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		defer cancel()
		var trailer metadata.MD
		var out []byte
		method := [...]string{resetv1.PasswordReset_StartReset_FullMethodName, resetv1.PasswordReset_CheckToken_FullMethodName,
			resetv1.PasswordReset_CompleteReset_FullMethodName, resetv1.PasswordReset_GetTicket_FullMethodName}[op]
		conn := g.Conns[g.next.Add(1)%uint64(len(g.Conns))]
		err := conn.Invoke(ctx, method, &message, &out, grpc.ForceCodec(raw{}), grpc.Trailer(&trailer))
		if err == nil {
			done(worked(op, out))
			return
		}
		pushback := ""
		if v := trailer.Get("grpc-retry-pushback-ms"); len(v) > 0 {
			pushback = v[0]
		}
		s := status.Convert(err)
		done(refused(codes.Code(s.Code()), s.Proto(), pushback))
	})
}

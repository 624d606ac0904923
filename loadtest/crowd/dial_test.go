package crowd

import (
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

func dial(t *testing.T, address string) Calls {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	g := &GRPC{Conns: []*grpc.ClientConn{conn}}
	t.Cleanup(func() { _ = conn.Close(); g.wg.Wait() })
	return g
}

package edge_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/edge"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// A worker serves operators, metrics and health, but has no public side.
func ExampleNew() {
	var operators operatorv1.UnimplementedOperatorServer // operator.New makes a real one
	registry := prometheus.NewRegistry()
	s, err := edge.New(edge.Config{
		Operator: edge.Listener{Address: "127.0.0.1:0"},
		HTTP:     edge.Listener{Address: "127.0.0.1:0"},
	}, edge.Deps{Operator: operators, Registerer: registry, Gatherer: registry, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := s.Start(); err != nil {
		fmt.Println(err)
		return
	}
	defer s.Stop(context.Background())
	operator, ok := s.Addrs().Operator.(*net.TCPAddr)
	fmt.Println(s.Addrs().GRPC, ok && operator.Port != 0)
	// Output: <nil> true
}

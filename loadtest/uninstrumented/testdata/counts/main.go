// Command counts uses each kind of metric and prints what came of it.
package main

import (
	"context"
	"fmt"

	grpcprom "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/grpc"
)

func main() {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "c"})
	c.Inc()
	c.Add(2)
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "g"})
	g.Set(6)
	g.Inc()
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "h", NativeHistogramBucketFactor: 1.1})
	h.Observe(1)
	h.Observe(2)
	s := prometheus.NewSummary(prometheus.SummaryOpts{Name: "s"})
	s.Observe(1)
	server := grpcprom.NewServerMetrics()
	answer, err := server.UnaryServerInterceptor()(context.Background(), nil, &grpc.UnaryServerInfo{FullMethod: "/a.B/C"},
		func(context.Context, any) (any, error) { return "hello", nil })
	if err != nil {
		panic(err)
	}
	handled := 0.
	metrics := make(chan prometheus.Metric, 100) // more than there are
	server.Collect(metrics)
	close(metrics)
	for m := range metrics {
		if d := read(m); d.GetLabel()[0].GetName() == "grpc_code" {
			handled += d.GetCounter().GetValue()
		}
	}
	fmt.Printf("counter %v\ngauge %v\nhistogram %d\nsummary %d\nhandled %v\nanswer %v\n", read(c).GetCounter().GetValue(),
		read(g).GetGauge().GetValue(), read(h).GetHistogram().GetSampleCount(), read(s).GetSummary().GetSampleCount(), handled, answer)
}

func read(m prometheus.Metric) *dto.Metric {
	var d dto.Metric
	if err := m.Write(&d); err != nil {
		panic(err)
	}
	return &d
}

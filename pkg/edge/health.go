package edge

import (
	"context"
	"time"

	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// updateHealth keeps the gRPC health service up to date, once a second until ctx ends.
func (s *Server) updateHealth(ctx context.Context) {
	for {
		if s.draining.Err() == nil {
			status := healthv1.HealthCheckResponse_SERVING
			if s.ready() != nil {
				status = healthv1.HealthCheckResponse_NOT_SERVING
			}
			s.health.SetServingStatus("", status)
			if s.public != nil {
				s.health.SetServingStatus(resetv1.PasswordReset_ServiceDesc.ServiceName, status)
			}
		}
		if s.clock.Sleep(ctx, time.Second) != nil {
			return
		}
	}
}

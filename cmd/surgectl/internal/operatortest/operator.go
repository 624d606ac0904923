// Package operatortest is an operator listener for tests of what a person sees: real gRPC, and behind it a scene in the place
// of a gateway, because no test can bring a real one to the same storm twice. Overrides that are set are in its lists and
// change nothing else. What a real surgegate answers is tested with a real surgegate.
package operatortest

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/surgegate/surgegate/pkg/diagnosis/scene"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// Server is one.
type Server struct {
	operatorv1.UnimplementedOperatorServer
	// Token is what must be shown, if anything.
	Token string

	mu        sync.Mutex
	status    *operatorv1.GetStatusResponse
	parked    []*operatorv1.ParkedJob
	overrides []*operatorv1.Override
	audit     []*operatorv1.AuditEntry
	grpc      *grpc.Server
	done      sync.WaitGroup
}

// New shows the status, and has as many parked jobs as it says.
func New(s *operatorv1.GetStatusResponse) *Server {
	o := &Server{overrides: s.GetOverrides()}
	o.Show(s)
	for _, l := range s.GetLanes() {
		for range l.GetParked() {
			o.parked = append(o.parked, &operatorv1.ParkedJob{
				JobId: fmt.Sprintf("%032x", len(o.parked)+1), Lane: l.GetLane(), Attempts: 8, Cause: "store: constraint violated",
				AcceptTime: timestamppb.New(scene.Now().Add(-time.Hour)), ParkTime: timestamppb.New(scene.Now()),
			})
		}
	}
	return o
}

// Serve listens until Stop and returns the address.
func (o *Server) Serve(address string) (string, error) { return o.ServeAs(address, o) }

// ServeAs is Serve with another's calls.
func (o *Server) ServeAs(address string, calls operatorv1.OperatorServer) (string, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return "", err
	}
	o.grpc = grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, r any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
		if md, _ := metadata.FromIncomingContext(ctx); o.Token != "" && !slices.Contains(md.Get("authorization"), "Bearer "+o.Token) {
			return nil, status.Error(codes.Unauthenticated, "a bearer token is needed")
		}
		return h(ctx, r)
	}))
	operatorv1.RegisterOperatorServer(o.grpc, calls)
	o.done.Go(func() { _ = o.grpc.Serve(l) })
	return l.Addr().String(), nil
}

// Stop ends everything that is under way.
func (o *Server) Stop() {
	o.grpc.Stop()
	o.done.Wait()
}

// Show shows another status from now on, with the diagnosis that a surgegate which has just started makes of it.
func (o *Server) Show(s *operatorv1.GetStatusResponse) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s != nil {
		o.status = scene.Diagnosed(proto.CloneOf(s))
	}
}

// GetStatus implements the call.
func (o *Server) GetStatus(context.Context, *operatorv1.GetStatusRequest) (*operatorv1.GetStatusResponse, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := proto.CloneOf(o.status)
	s.Overrides = o.overrides
	return s, nil
}

// WatchStatus implements the call; time goes on with each answer.
func (o *Server) WatchStatus(r *operatorv1.WatchStatusRequest, stream operatorv1.Operator_WatchStatusServer) error {
	interval := time.Second
	if r.GetInterval() != nil {
		interval = r.GetInterval().AsDuration()
	}
	tick := time.NewTicker(interval) //nolint:forbidigo // a server beside the test's process, in real time
	defer tick.Stop()
	for n := 0; ; n++ {
		s, err := o.GetStatus(stream.Context(), nil)
		if err != nil {
			return err
		}
		s.Time = timestamppb.New(s.GetTime().AsTime().Add(time.Duration(n) * time.Second))
		if err := stream.Send(&operatorv1.WatchStatusResponse{Status: s}); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// invalid is an error with a field violation, as surgegate makes them.
func invalid(field, description string) error {
	s, err := status.New(codes.InvalidArgument, "a field is invalid").WithDetails(&errdetails.BadRequest{
		FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: field, Description: description}},
	})
	if err != nil {
		return err
	}
	return s.Err()
}

// GetLimits implements the call.
func (o *Server) GetLimits(context.Context, *operatorv1.GetLimitsRequest) (*operatorv1.GetLimitsResponse, error) {
	return &operatorv1.GetLimitsResponse{Limits: []*operatorv1.Limit{
		{Name: "global", Rate: "20000/s", Burst: 40_000}, {Name: "client", Rate: "20/m", Burst: 20, RefusedRate: 2996},
		{Name: "identifier", Rate: "5/h", Burst: 5}, {Name: "level", CountOnly: true, Overridden: true},
	}}, nil
}

// SetLimit implements the call.
func (o *Server) SetLimit(_ context.Context, r *operatorv1.SetLimitRequest) (*operatorv1.SetLimitResponse, error) {
	after := r.GetRate()
	if r.CountOnly != nil {
		after = fmt.Sprintf("count only %v", r.GetCountOnly())
	}
	c, err := o.set("limit/"+r.GetLimit(), "20/m", after, r.GetSteering())
	return &operatorv1.SetLimitResponse{Change: c}, err
}

// ListLimitedClients implements the call.
func (o *Server) ListLimitedClients(context.Context, *operatorv1.ListLimitedClientsRequest) (
	*operatorv1.ListLimitedClientsResponse, error,
) {
	return &operatorv1.ListLimitedClientsResponse{Clients: scene.Clients()}, nil
}

// ListOverrides implements the call.
func (o *Server) ListOverrides(context.Context, *operatorv1.ListOverridesRequest) (*operatorv1.ListOverridesResponse, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return &operatorv1.ListOverridesResponse{Overrides: o.overrides}, nil
}

// LiftOverride implements the call.
func (o *Server) LiftOverride(_ context.Context, r *operatorv1.LiftOverrideRequest) (*operatorv1.LiftOverrideResponse, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var changes []*operatorv1.Change
	var kept []*operatorv1.Override
	for _, v := range o.overrides {
		if r.GetTarget() != "" && r.GetTarget() != v.GetTarget() {
			kept = append(kept, v)
			continue
		}
		changes = append(changes, &operatorv1.Change{Target: v.GetTarget(), Before: v.GetSetting(), After: v.GetBefore(), DryRun: r.GetDryRun()})
	}
	if len(changes) == 0 {
		return nil, status.Error(codes.NotFound, "no override stands on "+r.GetTarget())
	}
	if !r.GetDryRun() {
		o.overrides = kept
	}
	return &operatorv1.LiftOverrideResponse{Changes: changes}, nil
}

// Reload implements the call: the file of this one is always wrong, but for a dry run.
func (o *Server) Reload(_ context.Context, r *operatorv1.ReloadRequest) (*operatorv1.ReloadResponse, error) {
	if !r.GetDryRun() {
		return nil, status.Error(codes.FailedPrecondition, "surgegate.yaml:12: data_dir: needs a restart")
	}
	change := &operatorv1.ConfigChange{Key: "admission.client.rate", Before: "20/m", After: "10/m"}
	return &operatorv1.ReloadResponse{DryRun: true, Changes: []*operatorv1.ConfigChange{change}}, nil
}

// ListParked implements the call, two on a page.
func (o *Server) ListParked(_ context.Context, r *operatorv1.ListParkedRequest) (*operatorv1.ListParkedResponse, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	resp := &operatorv1.ListParkedResponse{}
	for _, j := range o.parked {
		if j.GetJobId() <= r.GetPageToken() || r.GetLane() != "" && j.GetLane() != r.GetLane() {
			continue
		}
		if len(resp.GetJobs()) == 2 {
			resp.NextPageToken = resp.GetJobs()[1].GetJobId()
			break
		}
		resp.Jobs = append(resp.Jobs, j)
	}
	return resp, nil
}

func (o *Server) decide(ids []string, dryRun bool) []*operatorv1.ParkedResult {
	o.mu.Lock()
	defer o.mu.Unlock()
	var results []*operatorv1.ParkedResult
	for _, id := range ids {
		i := slices.IndexFunc(o.parked, func(j *operatorv1.ParkedJob) bool { return j.GetJobId() == id })
		results = append(results, &operatorv1.ParkedResult{JobId: id, Found: i >= 0})
		if i >= 0 && !dryRun {
			o.parked = slices.Delete(o.parked, i, i+1)
		}
	}
	return results
}

// RequeueParked implements the call.
func (o *Server) RequeueParked(_ context.Context, r *operatorv1.RequeueParkedRequest) (*operatorv1.RequeueParkedResponse, error) {
	return &operatorv1.RequeueParkedResponse{Results: o.decide(r.GetJobIds(), r.GetDryRun())}, nil
}

// GiveUpParked implements the call.
func (o *Server) GiveUpParked(_ context.Context, r *operatorv1.GiveUpParkedRequest) (*operatorv1.GiveUpParkedResponse, error) {
	return &operatorv1.GiveUpParkedResponse{Results: o.decide(r.GetJobIds(), r.GetDryRun())}, nil
}

// GetTicket implements the call: it knows one ticket.
func (o *Server) GetTicket(_ context.Context, r *operatorv1.GetTicketRequest) (*operatorv1.GetTicketResponse, error) {
	if r.GetTicketId() != "known" {
		return nil, status.Error(codes.NotFound, "no such ticket, or it ended more than 72 h ago")
	}
	return &operatorv1.GetTicketResponse{
		State: "ACCEPTED", Lane: "apply", Position: 1234, AcceptTime: timestamppb.New(scene.Now()),
		EtaLow: durationpb.New(2 * time.Minute), EtaHigh: durationpb.New(4 * time.Minute),
	}, nil
}

// ListAudit implements the call, two on a page.
func (o *Server) ListAudit(_ context.Context, r *operatorv1.ListAuditRequest) (*operatorv1.ListAuditResponse, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	from := len(r.GetPageToken()) // a page token of two letters an entry would be as good
	to := min(len(o.audit), from+2)
	resp := &operatorv1.ListAuditResponse{Entries: o.audit[from:to]}
	if to < len(o.audit) {
		resp.NextPageToken = strings.Repeat("x", to)
	}
	return resp, nil
}

// Counts tells how many overrides stand and how many jobs are parked.
func (o *Server) Counts() (overrides, parked int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.overrides), len(o.parked)
}

package grpcapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// Queue is what operators need of the queue; every engine is one.
type Queue interface {
	queue.Operator
	Stats(ctx context.Context) (queue.Stats, error)
	Put(ctx context.Context, w queue.RecordWrite) error
}

// Downstream is one downstream's state.
type Downstream struct {
	Name                  string // store, mail, revoker, hash_pool
	Concurrency, InFlight int
	Rate                  float64 // items/s at most; 0: unlimited
	Breaker               string  // closed, half_open, open, none
	Ramp                  float64 // 0 to 1
}

const (
	maxParkedIDs    = 1000
	defaultPageSize = 100
)

// operator implements surgegate.operator.v1.Operator.
type operator struct {
	operatorv1.UnimplementedOperatorServer
	queue       Queue
	downstreams func() []Downstream
	level       func() (int, string)
	draining    func() bool
	clock       clock.Clock
	rates       *laneRates
}

// GetStatus implements the call.
func (o *operator) GetStatus(ctx context.Context, _ *operatorv1.GetStatusRequest) (*operatorv1.GetStatusResponse, error) {
	stats, err := o.queue.Stats(ctx)
	if err != nil {
		return nil, queueError(err)
	}
	now := o.clock.Now()
	level, cause := o.level()
	resp := &operatorv1.GetStatusResponse{
		Time:          timestamppb.New(now),
		BrownoutLevel: uint32(level), //nolint:gosec // 0 to 4
		BrownoutCause: cause,
		Draining:      o.draining(),
		Queue: &operatorv1.QueueStatus{
			Enqueued:     stats.Enqueued,
			Ended:        stats.Ended,
			Held:         stats.Held,
			Conservation: stats.Conservation(),
			Bytes:        stats.Bytes,
			MaxBytes:     stats.MaxBytes,
			Accepting:    stats.NotAccepting == nil,
		},
	}
	if stats.NotAccepting != nil {
		resp.Queue.NotAcceptingCause = stats.NotAccepting.Error()
	}
	for _, lane := range reset.Lanes() {
		l := stats.Lanes[lane]
		s := &operatorv1.LaneStatus{
			Lane: lane.String(), Leased: l.Leased, Retrying: l.Retrying, Parked: l.Parked, Rate: o.rates.rate(lane),
		}
		for _, n := range l.Waiting {
			s.Waiting += n
		}
		if oldest := l.Oldest(); !oldest.IsZero() {
			s.OldestWait = durationpb.New(max(0, now.Sub(oldest)))
		}
		resp.Lanes = append(resp.Lanes, s)
	}
	for _, d := range o.downstreams() {
		resp.Downstreams = append(resp.Downstreams, &operatorv1.DownstreamStatus{
			Downstream:       d.Name,
			ConcurrencyLimit: uint32(max(0, d.Concurrency)), //nolint:gosec // a limit of calls
			InFlight:         uint32(max(0, d.InFlight)),    //nolint:gosec // a number of calls
			RateLimit:        d.Rate,
			Breaker:          d.Breaker,
			Ramp:             d.Ramp,
		})
	}
	return resp, nil
}

// ListParked implements the call.
func (o *operator) ListParked(ctx context.Context, r *operatorv1.ListParkedRequest) (*operatorv1.ListParkedResponse, error) {
	var bad reset.Violations
	var lane reset.Lane
	if r.GetLane() != "" {
		var err error
		if lane, err = reset.ParseLane(r.GetLane()); err != nil {
			bad.Add("lane", "must be start, mail, hash, apply, revoke, campaign or empty")
		}
	}
	size := int(r.GetPageSize())
	switch {
	case size < 0 || size > maxParkedIDs:
		bad.Add("page_size", "must be between 0 and 1000")
	case size == 0:
		size = defaultPageSize
	}
	var after reset.ID
	if r.GetPageToken() != "" {
		var err error
		if after, err = reset.ParseID(r.GetPageToken()); err != nil {
			bad.Add("page_token", "must be the next_page_token of the page before")
		}
	}
	if err := bad.Err(); err != nil {
		return nil, err
	}
	jobs, err := o.queue.Parked(ctx, lane, after, size)
	if err != nil {
		return nil, queueError(err)
	}
	resp := &operatorv1.ListParkedResponse{}
	for _, j := range jobs {
		p := &operatorv1.ParkedJob{
			JobId:      j.Job.ID.String(),
			Lane:       j.Job.Lane.String(),
			AcceptTime: timestamppb.New(j.Job.AcceptTime),
			ParkTime:   timestamppb.New(j.ParkTime),
			Attempts:   j.Job.Attempts,
			Cause:      j.Cause,
		}
		if !j.Job.ExpireTime.IsZero() {
			p.ExpireTime = timestamppb.New(j.Job.ExpireTime)
		}
		resp.Jobs = append(resp.Jobs, p)
	}
	if len(jobs) == size {
		resp.NextPageToken = jobs[len(jobs)-1].Job.ID.String()
	}
	return resp, nil
}

// RequeueParked implements the call.
func (o *operator) RequeueParked(ctx context.Context, r *operatorv1.RequeueParkedRequest) (*operatorv1.RequeueParkedResponse, error) {
	results, err := o.change(ctx, "requeue_parked", "waiting", r.GetJobIds(), r.GetDryRun(), o.queue.Requeue)
	if err != nil {
		return nil, err
	}
	return &operatorv1.RequeueParkedResponse{Results: results}, nil
}

// GiveUpParked implements the call.
func (o *operator) GiveUpParked(ctx context.Context, r *operatorv1.GiveUpParkedRequest) (*operatorv1.GiveUpParkedResponse, error) {
	results, err := o.change(ctx, "give_up_parked", "failed", r.GetJobIds(), r.GetDryRun(), o.queue.GiveUp)
	if err != nil {
		return nil, err
	}
	return &operatorv1.GiveUpParkedResponse{Results: results}, nil
}

// change does one thing to parked jobs: look which are there, write the audit record, do it, write what came out
// differently.
func (o *operator) change(ctx context.Context, what, after string, texts []string, dryRun bool,
	do func(context.Context, []reset.ID) []error,
) ([]*operatorv1.ParkedResult, error) {
	ids, err := parseJobIDs(texts)
	if err != nil {
		return nil, err
	}
	parked, err := o.parked(ctx, ids)
	if err != nil {
		return nil, err
	}
	results := make([]*operatorv1.ParkedResult, len(ids))
	var found []reset.ID // each once, however often it was named
	for i, id := range ids {
		there, first := parked[id]
		results[i] = &operatorv1.ParkedResult{JobId: texts[i], Found: first}
		if first && !there {
			parked[id] = true
			found = append(found, id)
		}
	}
	if dryRun || len(found) == 0 {
		return results, nil
	}
	entry := AuditEntry{What: what, Targets: idTexts(found), Before: "parked", After: after}
	if err := o.audit(ctx, entry); err != nil {
		return nil, err
	}
	// What has been audited is done even if the caller goes away.
	ctx = context.WithoutCancel(ctx)
	var failed []reset.ID
	var fault error
	gone := map[reset.ID]bool{}
	for i, err := range do(ctx, found) {
		if err == nil {
			continue
		}
		failed = append(failed, found[i])
		gone[found[i]] = true
		if !errors.Is(err, queue.ErrNotFound) {
			fault = err
		}
	}
	if len(failed) > 0 {
		entry.What, entry.Targets, entry.After = what+"_undone", idTexts(failed), "not changed"
		if err := o.audit(ctx, entry); err != nil {
			return nil, err
		}
	}
	if fault != nil {
		return nil, queueError(fault)
	}
	for i, id := range ids {
		results[i].Found = results[i].Found && !gone[id]
	}
	return results, nil
}

// parked returns those of the ids that are parked, each with false.
func (o *operator) parked(ctx context.Context, ids []reset.ID) (map[reset.ID]bool, error) {
	wanted := make(map[reset.ID]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	found := map[reset.ID]bool{}
	var after reset.ID
	for len(found) < len(wanted) {
		page, err := o.queue.Parked(ctx, 0, after, maxParkedIDs)
		if err != nil {
			return nil, queueError(err)
		}
		for _, j := range page {
			if wanted[j.Job.ID] {
				found[j.Job.ID] = false
			}
		}
		if len(page) < maxParkedIDs {
			break
		}
		after = page[len(page)-1].Job.ID
	}
	return found, nil
}

func parseJobIDs(texts []string) ([]reset.ID, error) {
	var bad reset.Violations
	if len(texts) == 0 || len(texts) > maxParkedIDs {
		bad.Add("job_ids", "must name 1 to 1000 jobs")
		return nil, bad
	}
	ids := make([]reset.ID, len(texts))
	for i, s := range texts {
		id, err := reset.ParseID(s)
		if err != nil {
			bad.Add(fmt.Sprintf("job_ids[%d]", i), "must be 32 hexadecimal digits")
		}
		ids[i] = id
	}
	return ids, bad.Err()
}

func idTexts(ids []reset.ID) []string {
	s := make([]string, len(ids))
	for i, id := range ids {
		s[i] = id.String()
	}
	return s
}

// AuditEntry is the value, as JSON, of a queue.RecordAudit record.
type AuditEntry struct {
	When    time.Time `json:"when"`
	Who     string    `json:"who"`  // token name or certificate identity; "loopback" where neither is asked for
	From    string    `json:"from"` // address and port
	What    string    `json:"what"`
	Targets []string  `json:"targets,omitempty"`
	Before  string    `json:"before"`
	After   string    `json:"after"`
}

// audit appends a record; it must be there before anything is changed.
func (o *operator) audit(ctx context.Context, e AuditEntry) error {
	e.When = o.clock.Now().UTC().Truncate(time.Microsecond)
	e.Who = operatorOf(ctx)
	e.From = peerAddrPort(ctx).String()
	value, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("audit record: %w", err)
	}
	key := fmt.Sprintf("%020d-%s", e.When.UnixMicro(), reset.NewID())
	if err := o.queue.Put(ctx, queue.RecordWrite{Kind: queue.RecordAudit, Key: key, Value: value}); err != nil {
		return queueError(fmt.Errorf("audit record: %w", err))
	}
	return nil
}

func queueError(err error) error {
	switch {
	case errors.Is(err, queue.ErrClosed):
		return &reset.Error{Kind: reset.KindDraining, Cause: err}
	case errors.Is(err, queue.ErrNotDurable), errors.Is(err, queue.ErrFull):
		return &reset.Error{Kind: reset.KindNotDurable, Cause: err}
	default:
		return err
	}
}

type operatorKey struct{}

func operatorOf(ctx context.Context) string {
	name, _ := ctx.Value(operatorKey{}).(string)
	return name
}

// laneRates tells jobs ended a second over the last rateWindow, from one sample a second.
type laneRates struct {
	mu      sync.Mutex
	samples []rateSample // oldest first
}

type rateSample struct {
	at    time.Time
	ended map[reset.Lane]uint64
}

const rateWindow = 10 * time.Second

func newLaneRates() *laneRates { return &laneRates{} }

func (r *laneRates) add(now time.Time, stats queue.Stats) {
	ended := make(map[reset.Lane]uint64, len(stats.Lanes))
	for lane, l := range stats.Lanes {
		ended[lane] = l.Ended
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.samples) > 1 && now.Sub(r.samples[0].at) > rateWindow {
		r.samples = r.samples[1:]
	}
	r.samples = append(r.samples, rateSample{now, ended})
}

func (r *laneRates) rate(lane reset.Lane) float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.samples) < 2 {
		return 0
	}
	first, last := r.samples[0], r.samples[len(r.samples)-1]
	took := last.at.Sub(first.at).Seconds()
	if took <= 0 || last.ended[lane] < first.ended[lane] {
		return 0
	}
	return float64(last.ended[lane]-first.ended[lane]) / took
}

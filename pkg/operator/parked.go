package operator

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// maxParkedIDs bounds the jobs of one call.
const maxParkedIDs = 1000

// ListParked implements the call.
func (s *Service) ListParked(ctx context.Context, r *operatorv1.ListParkedRequest) (*operatorv1.ListParkedResponse, error) {
	var bad reset.Violations
	var lane reset.Lane
	if r.GetLane() != "" {
		var err error
		if lane, err = reset.ParseLane(r.GetLane()); err != nil {
			bad.Add("lane", "must be start, mail, hash, apply, revoke, campaign or empty")
		}
	}
	size := checkPageSize(r.GetPageSize(), &bad)
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
	jobs, err := s.d.Queue.Parked(ctx, lane, after, size)
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
func (s *Service) RequeueParked(ctx context.Context, r *operatorv1.RequeueParkedRequest) (*operatorv1.RequeueParkedResponse, error) {
	results, err := s.change(ctx, actionRequeue, "waiting", r.GetJobIds(), r.GetDryRun(), s.d.Queue.Requeue)
	if err != nil {
		return nil, err
	}
	return &operatorv1.RequeueParkedResponse{Results: results}, nil
}

// GiveUpParked implements the call.
func (s *Service) GiveUpParked(ctx context.Context, r *operatorv1.GiveUpParkedRequest) (*operatorv1.GiveUpParkedResponse, error) {
	results, err := s.change(ctx, actionGiveUp, "failed", r.GetJobIds(), r.GetDryRun(), s.d.Queue.GiveUp)
	if err != nil {
		return nil, err
	}
	return &operatorv1.GiveUpParkedResponse{Results: results}, nil
}

// change changes parked jobs: it finds out which of them are parked, writes the audit entry, calls do, and writes a second entry
// about those for which do failed.
func (s *Service) change(ctx context.Context, what, after string, texts []string, dryRun bool,
	do func(context.Context, []reset.ID) []error,
) ([]*operatorv1.ParkedResult, error) {
	ids, err := parseJobIDs(texts)
	if err != nil {
		return nil, err
	}
	parked, err := s.parked(ctx, ids)
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
	by := CallerOf(ctx)
	entry := Entry{Who: by.Who, From: by.From, What: what, Targets: idTexts(found), Before: "parked", After: after}
	if err := s.overrides.Audit(ctx, entry); err != nil {
		return nil, queueError(err)
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
		entry.What, entry.Targets, entry.After = what+undoneSuffix, idTexts(failed), "not changed"
		if err := s.overrides.Audit(ctx, entry); err != nil {
			return nil, queueError(err)
		}
	}
	if fault != nil {
		return nil, queueError(fault)
	}
	for i, id := range ids {
		results[i].Found = results[i].Found && !gone[id]
	}
	s.diagnoseChange(ctx)
	return results, nil
}

// parked returns the ids that belong to parked jobs, each with the value false.
func (s *Service) parked(ctx context.Context, ids []reset.ID) (map[reset.ID]bool, error) {
	wanted := make(map[reset.ID]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	found := map[reset.ID]bool{}
	var after reset.ID
	for len(found) < len(wanted) {
		page, err := s.d.Queue.Parked(ctx, 0, after, maxParkedIDs)
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

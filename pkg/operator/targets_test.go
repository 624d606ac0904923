package operator_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/operator"
	"github.com/surgegate/surgegate/pkg/reset"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

func for2m(dryRun bool) *operatorv1.Steering {
	return &operatorv1.Steering{Duration: durationpb.New(2 * time.Minute), Reason: "store is sick", DryRun: dryRun}
}

// call is one of the calls that set an override.
type call struct {
	target, action, before, after string
	do                            func(context.Context, operatorv1.OperatorClient, *operatorv1.Steering) (*operatorv1.Change, error)
	inForce                       func(*world) string
}

func calls() []call {
	return []call{
		{"lane/apply/paused", "pause_lane", "running", "paused",
			func(ctx context.Context, c operatorv1.OperatorClient, s *operatorv1.Steering) (*operatorv1.Change, error) {
				r, err := c.PauseLane(ctx, &operatorv1.PauseLaneRequest{Lane: "apply", Steering: s})
				return r.GetChange(), err
			}, func(w *world) string { return fmt.Sprint(!w.board.Lanes()[1].PausedSince.IsZero()) }},
		{"lane/start/weight", "set_lane_weight", "weight 8", "weight 2.5",
			func(ctx context.Context, c operatorv1.OperatorClient, s *operatorv1.Steering) (*operatorv1.Change, error) {
				r, err := c.SetLaneWeight(ctx, &operatorv1.SetLaneWeightRequest{Lane: "start", Weight: 2.5, Steering: s})
				return r.GetChange(), err
			}, func(w *world) string { return fmt.Sprint(w.board.Lanes()[0].Weight) }},
		{"pace/store", "set_pace", "measured: 12 calls at once now", "fixed at 4 calls at once, at most 100 items a second, at most 8 in a call",
			func(ctx context.Context, c operatorv1.OperatorClient, s *operatorv1.Steering) (*operatorv1.Change, error) {
				r, err := c.SetPace(ctx, &operatorv1.SetPaceRequest{Downstream: "store", Steering: s,
					Pace: &operatorv1.SetPaceRequest_Fixed{Fixed: &operatorv1.FixedPace{Concurrency: 4, Rate: 100, Batch: 8}}})
				return r.GetChange(), err
			}, func(w *world) (s string) { _ = w.board.do(func() { s = fmt.Sprint(w.board.paces["store"]) }); return s }},
		{"breaker/mail", "force_breaker", "auto, closed now", "held open",
			func(ctx context.Context, c operatorv1.OperatorClient, s *operatorv1.Steering) (*operatorv1.Change, error) {
				r, err := c.ForceBreaker(ctx, &operatorv1.ForceBreakerRequest{Downstream: "mail", State: operatorv1.BreakerState_BREAKER_STATE_OPEN,
					Steering: s})
				return r.GetChange(), err
			}, func(w *world) string { return w.board.Status()[1].Breaker }},
		{"brownout", "force_brownout", "by the signals, 1 (extras wait) now", "held at 3 (only completions are taken)",
			func(ctx context.Context, c operatorv1.OperatorClient, s *operatorv1.Steering) (*operatorv1.Change, error) {
				r, err := c.ForceBrownout(ctx, &operatorv1.ForceBrownoutRequest{Level: 3, Steering: s})
				return r.GetChange(), err
			}, func(w *world) string { _, isHeld := w.level.InForce(); return fmt.Sprint(isHeld) }},
		{"limit/client", "set_limit", "20/m, burst 20, enforced", "40/m, burst 40, counted only, refuses nothing",
			func(ctx context.Context, c operatorv1.OperatorClient, s *operatorv1.Steering) (*operatorv1.Change, error) {
				yes := true
				r, err := c.SetLimit(ctx, &operatorv1.SetLimitRequest{Limit: "client", Rate: "40/m", CountOnly: &yes, Steering: s})
				return r.GetChange(), err
			}, func(w *world) string { return fmt.Sprint(w.admission.Rules().Client) }},
	}
}

func TestEachOverrideIsSetToldAuditedAndEnds(t *testing.T) {
	t.Parallel()
	for _, c := range calls() {
		t.Run(c.target, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			was := c.inForce(w)
			dry, err := c.do(w.ctx(), w.client, for2m(true))
			if err != nil || !dry.GetDryRun() || dry.GetBefore() != c.before || dry.GetAfter() != c.after || c.inForce(w) != was ||
				len(w.audits()) != 0 {
				t.Fatalf("dry run: %v, %v", dry, err)
			}
			done, err := c.do(w.ctx(), w.client, for2m(false))
			if err != nil || done.GetDryRun() || done.GetTarget() != c.target || done.GetBefore() != c.before || done.GetAfter() != c.after ||
				!done.GetExpireTime().AsTime().Equal(begin().Add(2*time.Minute)) || len(done.GetNotes()) == 0 {
				t.Fatalf("%v, %v", done, err)
			}
			if c.inForce(w) == was {
				t.Error("nothing has changed")
			}
			l, err := w.client.ListOverrides(w.ctx(), &operatorv1.ListOverridesRequest{})
			if err != nil || len(l.GetOverrides()) != 1 || l.GetOverrides()[0].GetSetting() != c.after ||
				l.GetOverrides()[0].GetReason() != "store is sick" {
				t.Errorf("%v, %v", l, err)
			}
			w.clock.Advance(2 * time.Minute)
			w.pass(time.Second)
			if got := c.inForce(w); got != was {
				t.Errorf("after its time %s is in force, was %s", got, was)
			}
			a := w.audits()
			if len(a) != 2 || a[0].GetAction() != "override_expired" || a[0].GetWho() != "surgegate" || a[0].GetFrom() != "" ||
				a[1].GetAction() != c.action || a[1].GetBefore() != c.before || a[1].GetAfter() != c.after || a[1].GetReason() != "store is sick" ||
				!a[1].GetExpireTime().AsTime().Equal(begin().Add(2*time.Minute)) || !slices.Equal(a[1].GetTargets(), []string{c.target}) {
				t.Errorf("audit %v", a)
			}
		})
	}
}

func TestLift(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, c := range calls() {
		if _, err := c.do(w.ctx(), w.client, nil); err != nil { // for an hour
			t.Fatal(err)
		}
	}
	one, err := w.client.LiftOverride(w.ctx(), &operatorv1.LiftOverrideRequest{Target: "brownout", Reason: "calm again"})
	if err != nil || len(one.GetChanges()) != 1 || one.GetChanges()[0].GetAfter() != "by the signals, which ask for 1 (extras wait) now" {
		t.Fatalf("%v, %v", one, err)
	}
	_, err = w.client.LiftOverride(w.ctx(), &operatorv1.LiftOverrideRequest{Target: "brownout"})
	if status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), "no override stands on that target") {
		t.Errorf("%v", err)
	}
	all, err := w.client.LiftOverride(w.ctx(), &operatorv1.LiftOverrideRequest{})
	if err != nil || len(all.GetChanges()) != len(calls())-1 {
		t.Fatalf("%v, %v", all, err)
	}
	if rule := w.admission.Rules().Client; rule != (admission.Rule{Rate: admission.Rate{Count: 20, Per: time.Minute}, Burst: 20}) {
		t.Errorf("limit %+v", rule)
	}
	if a := w.audits(); len(a) != 2*len(calls()) || a[0].GetAction() != "lift_override" {
		t.Errorf("audit %v", a)
	}
}

func TestWhatIsWrongWithAnOverrideIsNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ctx, c := w.ctx(), w.client
	yes := true
	bounds := func(b *operatorv1.PaceBounds) error {
		_, err := c.SetPace(ctx, &operatorv1.SetPaceRequest{Downstream: "store", Pace: &operatorv1.SetPaceRequest_Bounds{Bounds: b}})
		return err
	}
	fixed := func(b *operatorv1.FixedPace) error {
		_, err := c.SetPace(ctx, &operatorv1.SetPaceRequest{Downstream: "store", Pace: &operatorv1.SetPaceRequest_Fixed{Fixed: b}})
		return err
	}
	limit := func(r *operatorv1.SetLimitRequest) error {
		_, err := c.SetLimit(ctx, r)
		return err
	}
	for _, x := range []struct {
		do   func() error
		want []string
		says string
	}{
		{func() error { _, err := c.PauseLane(ctx, &operatorv1.PauseLaneRequest{Lane: "aply"}); return err }, []string{"lane"},
			"must be one of apply, start"},
		{func() error {
			_, err := c.PauseLane(ctx, &operatorv1.PauseLaneRequest{Lane: "apply",
				Steering: &operatorv1.Steering{Duration: durationpb.New(time.Second)}})
			return err
		}, []string{"steering.duration"}, "between 1m and 7 days"},
		{func() error {
			_, err := c.PauseLane(ctx, &operatorv1.PauseLaneRequest{Lane: "apply", Steering: &operatorv1.Steering{Duration: durationpb.New(0),
				Reason: "a\x00b"}})
			return err
		}, []string{"steering.duration", "steering.reason"}, "one line"},
		{func() error {
			_, err := c.SetLaneWeight(ctx, &operatorv1.SetLaneWeightRequest{Lane: "start"})
			return err
		}, []string{"weight"}, "must be between 0.1 and 1000"},
		{func() error { _, err := c.SetPace(ctx, &operatorv1.SetPaceRequest{Downstream: "store"}); return err }, []string{"pace"},
			"must be fixed or bounds"},
		{func() error { return fixed(&operatorv1.FixedPace{Rate: -1, Batch: 5000}) },
			[]string{"fixed.concurrency", "fixed.batch", "fixed.rate"}, "calls at once, 1 to 10000"},
		{func() error { return bounds(&operatorv1.PaceBounds{MinConcurrency: 9, MaxConcurrency: 8}) }, []string{"bounds.max_concurrency"},
			"under min"},
		{func() error {
			_, err := c.ForceBreaker(ctx, &operatorv1.ForceBreakerRequest{Downstream: "hash_pool",
				State: operatorv1.BreakerState_BREAKER_STATE_OPEN})
			return err
		}, []string{"downstream"}, "must be one of mail, store"},
		{func() error {
			_, err := c.ForceBreaker(ctx, &operatorv1.ForceBreakerRequest{Downstream: "store"})
			return err
		}, []string{"state"}, "BREAKER_STATE_OPEN"},
		{func() error {
			_, err := c.ForceBrownout(ctx, &operatorv1.ForceBrownoutRequest{Level: 5})
			return err
		}, []string{"level"}, "must be 0 (normal)"},
		{func() error { return limit(&operatorv1.SetLimitRequest{Limit: "client", Rate: "40"}) }, []string{"rate"}, "20000/s"},
		{func() error { return limit(&operatorv1.SetLimitRequest{Limit: "all"}) }, []string{"limit"}, "client, global, identifier, level"},
		{func() error { return limit(&operatorv1.SetLimitRequest{Limit: "client"}) }, []string{"rate"}, "nothing to change"},
		{func() error { return limit(&operatorv1.SetLimitRequest{Limit: "identifier", CountOnly: &yes}) }, []string{"count_only"}, "mailboxes"},
		{func() error { return limit(&operatorv1.SetLimitRequest{Limit: "level", Rate: "1/s"}) }, []string{"rate"}, "level has no rate"},
		{func() error {
			_, err := c.LiftOverride(ctx, &operatorv1.LiftOverrideRequest{Reason: strings.Repeat("x", 201)})
			return err
		}, []string{"reason"}, "200 characters"},
		{func() error {
			_, err := c.ListAudit(ctx, &operatorv1.ListAuditRequest{PageSize: -1, PageToken: "../"})
			return err
		}, []string{"page_size", "page_token"}, "next_page_token"},
		{func() error { _, err := c.GetTicket(ctx, &operatorv1.GetTicketRequest{}); return err }, []string{"ticket_id"}, "as the person"},
	} {
		err := x.do()
		wantField(t, err, x.want...)
		if !strings.Contains(fmt.Sprint(err), x.says) {
			t.Errorf("%v does not say %q", err, x.says)
		}
	}
	if a := w.audits(); len(a) != 0 {
		t.Errorf("something was done: %v", a)
	}
}

func TestTheAuditTrailIsPagedFromTheNewest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for i := range 7 {
		if _, err := w.client.ForceBrownout(w.ctx(), &operatorv1.ForceBrownoutRequest{Level: uint32(i % 4),
			Steering: &operatorv1.Steering{Reason: fmt.Sprint(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	token := ""
	for {
		r, err := w.client.ListAudit(w.ctx(), &operatorv1.ListAuditRequest{PageSize: 3, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range r.GetEntries() {
			got = append(got, e.GetReason())
		}
		if token = r.GetNextPageToken(); token == "" {
			break
		}
	}
	if !slices.Equal(got, []string{"6", "5", "4", "3", "2", "1", "0"}) {
		t.Errorf("%v", got)
	}
}

func TestAPageOfLargeEntriesCanBeReceived(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ids := make([]string, 1000) // as when everything that is parked is requeued
	for i := range ids {
		ids[i] = reset.NewID().String()
	}
	const entries = 130 // 4.5 MB, more than a gRPC client takes at once
	for range entries {
		if err := w.service.Reconfigure(t.Context(), operator.Entry{Who: "ada", What: operator.ActionReload, Targets: ids},
			func() error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	got, token := 0, ""
	for range entries {
		r, err := w.client.ListAudit(w.ctx(), &operatorv1.ListAuditRequest{PageSize: 1000, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		got += len(r.GetEntries())
		if token = r.GetNextPageToken(); token == "" {
			break
		}
	}
	if got != entries {
		t.Errorf("%d entries, want %d", got, entries)
	}
}

func TestReloadSaysWhatChangedOrWhyNot(t *testing.T) {
	t.Parallel()
	var asked operator.Caller
	var failure error
	w := newWorld(t, func(d *operator.Deps) {
		d.Reload = func(_ context.Context, by operator.Caller, dryRun bool) ([]*operatorv1.ConfigChange, error) {
			asked = by
			return []*operatorv1.ConfigChange{{Key: "log.level", Before: "info", After: "debug"}}, failure
		}
	})
	r, err := w.client.Reload(w.ctx(), &operatorv1.ReloadRequest{DryRun: true})
	if err != nil || !r.GetDryRun() || len(r.GetChanges()) != 1 || r.GetChanges()[0].GetAfter() != "debug" || asked.Who != "loopback" {
		t.Errorf("%v, %v", r, err)
	}
	failure = &reset.Error{Kind: reset.KindPrecondition, Detail: "a.yaml:3: queue: wrong"}
	if _, err = w.client.Reload(w.ctx(), &operatorv1.ReloadRequest{}); status.Code(err) != codes.FailedPrecondition ||
		!strings.Contains(err.Error(), "a.yaml:3") {
		t.Errorf("%v", err)
	}
	bare := newWorld(t, nil)
	if _, err = bare.client.Reload(bare.ctx(), &operatorv1.ReloadRequest{}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("%v", err)
	}
}

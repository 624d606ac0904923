package diagnosis_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/surgegate/surgegate/pkg/diagnosis"
	"github.com/surgegate/surgegate/pkg/diagnosis/scene"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

type status = operatorv1.GetStatusResponse

const (
	note   = operatorv1.Severity_SEVERITY_NOTE
	look   = operatorv1.Severity_SEVERITY_LOOK
	urgent = operatorv1.Severity_SEVERITY_URGENT
)

// with is a scene with something changed.
func with(s *status, change func(*status)) *status {
	change(s)
	return s
}

// faster is a downstream that delivers the share of what it did at its best.
func faster(name string, share float64) func(*status) {
	return func(s *status) {
		d := scene.Downstream(s, name)
		d.SpeedRatio, d.BestItemRate, d.BestTime = share, d.GetItemRate()/share, s.GetTime()
	}
}

func TestTheAnswersNameTheCause(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                string
		status              *status
		findings            []string // exactly these, in this order
		worst               operatorv1.Severity
		helped, limit, over string // in the answers' words
		action, runbook     string // the first action's command, the first runbook
	}{
		{"calm", scene.Calm(), nil, note, "^YES$", "^NOTHING$", "^NOW$", "", ""},
		{
			"a storm that goes well", scene.Busy(), []string{"level"}, note,
			"^YES$", "^NOTHING that needs you", "^NOW$", "", "",
		},
		{
			"store at half speed", scene.StoreSlow(), []string{"downstream_limit", "level"}, look,
			"^SLOWLY$", "store: it takes no more at once", "IN ABOUT 14m", "surgectl pace list", "SurgegateDownstreamSlow",
		},
		{
			"store at half speed, seen to be faster before", with(scene.StoreSlow(), faster("store", .5)), []string{"downstream_slow", "level"},
			look, "^SLOWLY$", "store: it is slower than it was", "IN ABOUT 14m", "surgectl pace list",
			"SurgegateDownstreamSlow",
		},
		{
			"a store at its best, and more people than it serves", with(scene.StoreSlow(), faster("store", .97)), []string{"downstream_limit", "level"},
			look, "^SLOWLY$", "store: it takes no more at once", "IN ABOUT 14m", "surgectl pace list", "SurgegateDownstreamSlow",
		},
		{
			"mail slower than before", with(scene.MailSlow(), faster("mail", .3)), []string{"downstream_slow"}, look,
			"", "mail provider: it is slower than it was", "", "surgectl pace list", "SurgegateDownstreamSlow",
		},
		{
			"a line that has just begun and grows", with(scene.StoreSlow(), func(s *status) {
				s.BrownoutLevel, s.BrownoutLevelAsked, s.BrownoutCause = 0, 0, ""
				for _, name := range []string{"start", "apply"} {
					l := scene.Lane(s, name)
					l.OldestWait, l.Waiting, l.DrainTime = durationpb.New(6*time.Second), 1_000, durationpb.New(40*time.Second)
				}
			}), []string{"downstream_limit"}, look,
			"^YES, with a line$", "store: it takes no more at once", "IN ABOUT 40s", "surgectl pace list", "SurgegateDownstreamSlow",
		},
		{
			"mail throttled", scene.MailThrottled(), []string{"downstream_failing"}, urgent,
			"^SLOWLY$", "mail provider throttles", "IN ABOUT 9m", "surgectl pace list", "SurgegateDownstreamFailing",
		},
		{
			"mail slow", scene.MailSlow(), []string{"downstream_limit"}, look,
			"^SLOWLY$", "mail provider: it takes no more", "IN ABOUT 9m", "surgectl pace list", "SurgegateDownstreamSlow",
		},
		{
			"mail at its configured rate", with(scene.MailSlow(), func(s *status) {
				d := scene.Downstream(s, "mail")
				d.InFlight, d.CallTime, d.RateLimit = 1, durationpb.New(80*time.Millisecond), 9
			}), []string{"rate_limit"}, look,
			"^SLOWLY$", "mail provider's rate", "IN ABOUT", "surgectl pace bound mail --rate RATE", "SurgegateDownstreamSlow",
		},
		{
			"one client floods", scene.Flood(), []string{"client_flooding"}, look,
			"^YES$", "a client floods", "^NOW$", "surgectl limits clients", "SurgegateClientFlooding",
		},
		{
			"disk filling", scene.DiskFilling(), []string{"disk_filling"}, look,
			"^YES$", "disk is filling", "^NOW$", "df -h; du -xsh /var/log", "SurgegateDiskFilling",
		},
		{
			"slow disk", scene.DiskSlow(), []string{"disk_slow"}, urgent,
			"^SLOWLY$", "the disk is slow", "IN ABOUT 1m", "iostat -x 5; pidstat -d 5", "SurgegateDiskSlow",
		},
		{
			"disk full", scene.DiskFull(), []string{"disk_low"}, urgent,
			"^ONLY WHO IS IN LINE", "disk is full up to its reserve", "^NOT BEFORE THAT IS MENDED$", "df -h; du -xsh /var/log", "SurgegateNotAccepting",
		},
		{
			"not durable for another reason", with(scene.DiskFull(), func(s *status) {
				s.Disk.AvailableBytes, s.Queue.NotAcceptingCause = 90<<30, "input/output error"
			}), []string{"not_accepting"}, urgent,
			"^ONLY WHO IS IN LINE", "nothing can be made durable", "^NOT BEFORE THAT IS MENDED$", "surgectl status", "SurgegateNotAccepting",
		},
		{
			"store dark", scene.StoreDark(), []string{"downstream_dark", "level"}, urgent,
			"^NO$", "store does not work", "AFTER THE STORE WORKS AGAIN", "surgectl breaker list", "SurgegateBreakerOpen",
		},
		{
			"store that hangs", scene.StoreHangs(), []string{"downstream_hanging"}, urgent,
			"^NO$", "store does not answer: calls hang", "AFTER THE STORE WORKS AGAIN", "(the store itself)", "SurgegateBreakerOpen",
		},
		{
			"store whose every call fails, its breaker not open yet", with(scene.StoreDark(), func(s *status) {
				d := scene.Downstream(s, "store")
				d.Breaker, d.Ramp, d.OutageStartTime, d.FailureRate, d.CallTime = "closed", 1, nil, .6, durationpb.New(5*time.Second)
			}), []string{"downstream_dark", "level"}, urgent,
			"^NO$", "store does not work", "AFTER THE STORE WORKS AGAIN", "surgectl breaker list", "SurgegateBreakerOpen",
		},
		{
			"store dark, and nobody waits yet", with(scene.Calm(), func(s *status) {
				d := scene.Downstream(s, "store")
				d.Breaker, d.OutageStartTime, d.CallRate = "open", s.GetTime(), 0
			}), []string{"downstream_dark"}, look,
			"^NOT FOR LONG$", "store does not work", "^NOT BEFORE THAT IS MENDED$", "surgectl breaker list", "SurgegateBreakerOpen",
		},
		{
			"store coming back", with(scene.StoreDark(), func(s *status) {
				d := scene.Downstream(s, "store")
				d.Breaker, d.Ramp, d.OutageStartTime, d.FailureRate, d.LastSuccessTime = "closed", .3, nil, 0, scene.Ago(time.Second)
				scene.Lane(s, "apply").Rate, scene.Lane(s, "start").Rate = 20, 20
			}), []string{"recovering", "level"}, note,
			"^SLOWLY$", "store is coming back", "CANNOT BE SAID YET", "", "",
		},
		{
			"relay dark while nobody waits for a mail", with(scene.Calm(), func(s *status) {
				scene.Lane(s, "mail").Retrying = 0
				d := scene.Downstream(s, "mail")
				d.Breaker, d.Ramp, d.OutageStartTime, d.LastCallTime, d.LastSuccessTime = "open", 0, scene.Ago(time.Minute), scene.Ago(time.Minute), nil
			}), []string{"untried"}, look,
			"^YES$", "mail provider failed when it was last tried; not tried since 03:11:44 UTC", "^NOW$", "surgectl breaker list",
			"SurgegateBreakerOpen",
		},
		{
			"a breaker that was let go while nobody waits", with(scene.Calm(), func(s *status) {
				d := scene.Downstream(s, "mail")
				d.Breaker, d.Ramp = "open", 0
			}), []string{"untried"}, note,
			"^YES$", "^NOTHING that needs you: the mail provider has not been tried", "^NOW$", "", "",
		},
		{
			"hash pool busy", scene.HashBusy(), []string{"hash_pool_busy"}, look,
			"^SLOWLY$", "all slots are busy", "IN ABOUT 41s", "top -H", "SurgegateHashPoolBusy",
		},
		{
			"hashes wait for the store's look-up", with(scene.StoreDark(), func(s *status) {
				scene.Lane(s, "start").Waiting, scene.Lane(s, "apply").Waiting = 0, 0
				l := scene.Lane(s, "hash")
				l.Waiting, l.OldestWait, l.Rate, l.DrainTime = 40, durationpb.New(time.Minute), 0, nil
			}), []string{"downstream_dark", "level"}, urgent,
			"^NO$", "store does not work", "AFTER THE STORE", "surgectl breaker list", "SurgegateBreakerOpen",
		},
		{
			"parked jobs", scene.Parked(), []string{"parked"}, look,
			"^YES$", "parked jobs: apply 3", "^NOW$", "surgectl parked list", "SurgegateParkedJobs",
		},
		{
			"a pause that was forgotten", scene.Paused(), []string{"lane_paused", "override_standing"}, urgent,
			"^NO$", "lane apply is paused", "NOT BY ITSELF SOON", "surgectl lanes resume apply", "SurgegateOverrideStanding",
		},
		{
			"a pause of what nobody waits for", with(scene.Calm(), func(s *status) {
				l := scene.Lane(s, "revoke")
				l.Paused, l.Waiting, l.OldestWait = true, 12, durationpb.New(time.Minute)
				s.Overrides = append(s.Overrides, scene.Override("lane/revoke/paused", "paused", "", time.Minute))
			}), []string{"lane_paused", "override_standing"}, look,
			"^YES$", "lane revoke is paused", "^NOW$", "surgectl lanes resume revoke", "SurgegateOverrideStanding",
		},
		{
			"an override stands", with(scene.Calm(), func(s *status) {
				s.Overrides = append(s.Overrides, scene.Override("limit/client", "5/m", "", time.Minute))
			}), []string{"override_standing"}, note,
			"^YES$", "^NOTHING that needs you: 1 override stands", "^NOW$", "surgectl overrides list", "",
		},
		{
			"an override stands for hours", with(scene.Calm(), func(s *status) {
				s.Overrides = append(s.Overrides, scene.Override("limit/client", "5/m", "", 5*time.Hour))
			}), []string{"override_standing"}, look,
			"^YES$", "1 override stands", "^NOW$", "surgectl overrides list", "SurgegateOverrideStanding",
		},
		{
			"the pace is fixed too low", with(scene.StoreSlow(), func(s *status) {
				d := scene.Downstream(s, "store")
				d.PaceMode, d.ConcurrencyLimit, d.InFlight = "fixed", 2, 2
				s.Overrides = append(s.Overrides, scene.Override("pace/store", "2 calls", "", time.Minute))
			}), []string{"pace_overridden", "level", "override_standing"}, look,
			"^SLOWLY$", "held at its pace by an override", "IN ABOUT", "surgectl pace auto store", "SurgegateOverrideStanding",
		},
		{
			"the breaker is held open", with(scene.StoreDark(), func(s *status) {
				d := scene.Downstream(s, "store")
				d.BreakerForced, d.OutageStartTime = true, nil
				s.Overrides = append(s.Overrides, scene.Override("breaker/store", "open", "", time.Minute))
			}), []string{"breaker_forced_open", "level", "override_standing"}, urgent,
			"^NO$", "breaker is held open", "NOT BY ITSELF SOON", "surgectl breaker auto store", "SurgegateBreakerOpen",
		},
		{
			"new starts are shed", scene.Closing(), []string{"downstream_limit", "queue_full", "level"}, look,
			"^SLOWLY$", "store: it takes no more at once", "IN ABOUT", "surgectl pace list", "SurgegateDownstreamSlow",
		},
		{
			"the level is held", with(scene.Calm(), func(s *status) {
				s.BrownoutLevel = 3
				s.Overrides = append(s.Overrides, scene.Override("brownout", "level 3", "drill", time.Minute))
			}), []string{"level_forced", "override_standing"}, urgent,
			"^WHO HAS A LINK", "level 3 is held by an override; the signals ask for 0", "^NOW$", "surgectl brownout auto", "SurgegateBrownoutHigh",
		},
		{
			"the limit of all", with(scene.Calm(), func(s *status) {
				s.Admission = &operatorv1.AdmissionStatus{
					Offered: 30_000, Admitted: 20_000, Limited: 10_000, Reasons: []*operatorv1.ReasonRate{{Reason: "limit_global", Rate: 10_000}},
				}
			}), []string{"global_limit"}, look,
			"^WHO IS LET IN", "limit for all together", "^NOW$", "surgectl limits list", "SurgegateGlobalLimitHit",
		},
		{
			"the queue fills", with(scene.StoreSlow(), func(s *status) { s.Queue.MaxBytes = s.Queue.Bytes + s.Queue.Bytes/2 }),
			[]string{"queue_filling", "downstream_limit", "level"}, urgent,
			"^SLOWLY$", "queue is full in about 1m", "IN ABOUT", "surgectl brownout force 3 --duration 15m", "SurgegateQueueFullSoon",
		},
		{
			"jobs do not add up", with(scene.Calm(), func(s *status) { s.Queue.Conservation = -2 }), []string{"conservation"}, urgent,
			"^YES$", "jobs do not add up", "^NOW$", "surgectl status -o json > status.json", "SurgegateConservationBroken",
		},
		{
			"shutting down", with(scene.Calm(), func(s *status) { s.Draining = true }), []string{"draining"}, look,
			"^YES$", "is shutting down", "^NOW$", "", "",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := diagnosis.Once(c.status, nil)
			var ids []string
			worst := note
			for i, f := range r.Findings {
				ids = append(ids, f.GetId())
				worst = max(worst, f.GetSeverity())
				if i > 0 && f.GetSeverity() > r.GetFindings()[i-1].GetSeverity() {
					t.Errorf("%s is more urgent than what comes before it", f.GetId())
				}
			}
			if !slices.Equal(ids, c.findings) || worst != c.worst {
				t.Errorf("findings %v (%s), want %v (%s)", ids, worst, c.findings, c.worst)
			}
			for want, got := range map[string]string{c.helped: r.Helped.Word, c.limit: r.Limit.Word, c.over: r.Over.Word} {
				if !regexp.MustCompile(want).MatchString(got) {
					t.Errorf("%q does not match %q", got, want)
				}
			}
			action, runbook := "", ""
			if len(r.Actions) > 0 {
				action = r.GetActions()[0].GetCommand()
			}
			if len(r.Runbooks) > 0 {
				runbook = r.Runbooks[0]
			}
			if action != c.action || runbook != c.runbook {
				t.Errorf("action %q, runbook %q; want %q, %q", action, runbook, c.action, c.runbook)
			}
		})
	}
}

// What is normal must not be told as a fault: whoever is woken for nothing twice does not look the third time.
func TestNoFalseAlarm(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*status){
		"one call that fails": func(s *status) {
			scene.Downstream(s, "store").FailureRate = .1
		},
		"a line of five seconds": func(s *status) {
			l := scene.Lane(s, "start")
			l.Waiting, l.OldestWait, l.DrainTime = 300, durationpb.New(5*time.Second), durationpb.New(5*time.Second)
		},
		"mails that wait for another try, beside a line that moves": func(s *status) {
			l := scene.Lane(s, "mail")
			l.Waiting, l.Retrying, l.DrainTime = 4, 30, durationpb.New(4*time.Second)
		},
		"confirmation mails on their own budget": func(s *status) {
			l := scene.Lane(s, "mail")
			l.Waiting, l.OldestWait, l.Retrying, l.DrainTime = 5_000, durationpb.New(9*time.Minute), 0, durationpb.New(time.Hour)
		},
		"a front end that is a little over its limit": func(s *status) {
			s.Admission = &operatorv1.AdmissionStatus{
				Offered: 4, Admitted: 1, Limited: 3, Reasons: []*operatorv1.ReasonRate{{Reason: "limit_client_ip", Rate: 3}},
			}
		},
		"all calls out for a moment":  func(s *status) { scene.Downstream(s, "hash_pool").InFlight = 1 },
		"an answer with only a time":  func(s *status) { proto.Reset(s); s.Time = scene.Calm().GetTime() },
		"a surgegate without figures": func(s *status) { s.Admission, s.Disk = nil, nil },
	} {
		s := scene.Calm()
		change(s)
		if r := diagnosis.Once(s, nil); len(r.Findings) > 0 || r.Over.Word != "NOW" {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// Whoever reads it sees the figures and the person behind an override.
func TestTheSentencesHaveTheFigures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status *status
		want   []string
	}{
		{scene.StoreSlow(), []string{
			"24/s passwords set", "the oldest waits 4m10s (apply, 8.9 k in line)", "It does 50/s with 12 of 12 calls out, 480ms a call",
			"62/s come and 24/s get done: the line of apply grows by 38/s",
		}},
		{scene.Paused(), []string{`Set by alex 15m ago ("store maintenance"), ends in 45m.`, "640 jobs wait, the oldest for 14m"}},
		{scene.StoreDark(), []string{"for 4m10s, since 03:08:34 UTC"}},
		{scene.Flood(), []string{"98 % of 3.0 k/s calls", "3.0 k/s refused with a time to come back (over the limit of one address)"}},
		{scene.MailThrottled(), []string{"55 % of its calls fail (11/s of 20/s)"}},
		{scene.DiskFilling(), []string{"700 MiB are left above the reserve of 2.0 GiB"}},
		{scene.Closing(), []string{
			"360/s are let in and 940/s refused", "Also: the line is as long", "shed by level 3, could not be finished in time",
		}},
	} {
		r := diagnosis.Once(c.status, nil)
		text := strings.Join(slices.Concat(r.Helped.Says, r.Limit.Says, r.Over.Says), "\n")
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%q is not in:\n%s", want, text)
			}
		}
	}
}

func TestAFloodHasAName(t *testing.T) {
	t.Parallel()
	clients := func() []*operatorv1.LimitedClient {
		return append(scene.Clients(), &operatorv1.LimitedClient{Kind: "id", Client: "shop", Refused: 12})
	}
	const want = "Most refused: ip 203.0.113.7, about 180 k in the last minute; then id shop, 12."
	if r := diagnosis.Once(scene.Flood(), clients); !strings.Contains(r.GetLimit().GetSays()[0], want) {
		t.Errorf("%q", r.GetLimit())
	}
	second := scene.Flood()
	second.Draining, second.Queue.Conservation = true, 1
	if r := diagnosis.Once(second, clients); !strings.Contains(strings.Join(r.GetLimit().GetSays(), "\n"), want) {
		t.Errorf("%q", r.GetLimit())
	}
	asked := false
	diagnosis.Once(scene.Calm(), func() []*operatorv1.LimitedClient { asked = true; return clients() })
	if asked {
		t.Error("clients are asked for though none floods")
	}
}

// Everything that a finding says to type starts with something that exists, and what is done is bounded in number.
func TestActionsAreFewAndEachOnce(t *testing.T) {
	t.Parallel()
	s := scene.Closing()
	scene.Lane(s, "mail").Parked = 1
	s.Disk.AvailableBytes = 2<<30 + 1<<20
	s.Overrides = append(s.Overrides, scene.Override("limit/client", "5/m", "", time.Minute))
	r := diagnosis.Once(s, nil)
	seen := map[string]bool{}
	for _, a := range r.Actions {
		if seen[a.GetCommand()] || a.GetWhy() == "" {
			t.Errorf("%+v", r.Actions)
		}
		seen[a.GetCommand()] = true
	}
	if len(r.Findings) < 6 || len(r.Actions) > 5 || len(r.Actions) < 4 {
		t.Errorf("%d findings, actions %+v", len(r.Findings), r.Actions)
	}
}

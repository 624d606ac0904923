// Package scene has statuses of a surgegate on its good and bad days, for tests: what the diagnosis is judged by, and what
// screens are drawn from. Each is the calm one with a fault, as a real surgegate under that fault reported it in kind. They have
// no diagnosis yet: Diagnosed adds it.
package scene

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/surgegate/surgegate/pkg/diagnosis"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// Diagnosed adds what a surgegate that has just started makes of the status, and returns the status.
func Diagnosed(s *operatorv1.GetStatusResponse) *operatorv1.GetStatusResponse {
	s.Diagnosis = diagnosis.Once(s, Clients)
	return s
}

// Clients are those that are refused most in a flood.
func Clients() []*operatorv1.LimitedClient {
	return []*operatorv1.LimitedClient{{Kind: "ip", Client: "203.0.113.7", Refused: 179_760}}
}

// Ago is so long before Now.
func Ago(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(Now().Add(-d)) }

// Now is when all of them are taken.
func Now() time.Time { return time.Date(2026, 3, 14, 3, 12, 44, 0, time.UTC) }

// Calm is a quiet night: a few resets, one mail that a full mailbox refused, waiting for its next try.
func Calm() *operatorv1.GetStatusResponse {
	lane := func(name string, rate, weight float64) *operatorv1.LaneStatus {
		return &operatorv1.LaneStatus{
			Lane: name, Rate: rate, ArrivalRate: rate, Weight: weight, OldestWait: durationpb.New(0), DrainTime: durationpb.New(0),
		}
	}
	down := func(name, breaker string, limit uint32, rate float64, took time.Duration) *operatorv1.DownstreamStatus {
		return &operatorv1.DownstreamStatus{
			Downstream: name, Breaker: breaker, ConcurrencyLimit: limit, Ramp: 1, PaceMode: "auto", Batch: 1, CallRate: rate, ItemRate: rate,
			CallTime: durationpb.New(took), LastCallTime: Ago(time.Second), LastSuccessTime: Ago(time.Second - took),
		}
	}
	s := &operatorv1.GetStatusResponse{
		Time: timestamppb.New(Now()), StartTime: timestamppb.New(Now().Add(-76 * time.Hour)), Version: "v0.5.0",
		Queue: &operatorv1.QueueStatus{Enqueued: 120_000, Ended: 119_998, Held: 2, Bytes: 900, MaxBytes: 20 << 30, Accepting: true},
		Lanes: []*operatorv1.LaneStatus{
			lane("start", 1.2, 8), lane("mail", 1.1, 1), lane("hash", .8, 16), lane("apply", .8, 32), lane("revoke", .8, 2), lane("campaign", 0, 1),
		},
		Downstreams: []*operatorv1.DownstreamStatus{
			down("store", "closed", 24, 2.1, 20*time.Millisecond), down("mail", "closed", 8, 1.1, 80*time.Millisecond),
			down("revoker", "closed", 24, .8, 10*time.Millisecond), down("hash_pool", "none", 1, .8, 21*time.Millisecond),
		},
		Admission: &operatorv1.AdmissionStatus{Offered: 2.1, Admitted: 2.1, GlobalTokens: 40_000},
		Disk:      &operatorv1.DiskStatus{AvailableBytes: 120 << 30, ReserveBytes: 2 << 30},
	}
	mail := Lane(s, "mail")
	mail.Retrying, mail.OldestWait = 1, durationpb.New(22*time.Minute)
	return s
}

// Lane finds one in a status.
func Lane(s *operatorv1.GetStatusResponse, name string) *operatorv1.LaneStatus {
	for _, l := range s.GetLanes() {
		if l.GetLane() == name {
			return l
		}
	}
	panic("no lane " + name)
}

// Downstream finds one in a status.
func Downstream(s *operatorv1.GetStatusResponse, name string) *operatorv1.DownstreamStatus {
	for _, d := range s.GetDownstreams() {
		if d.GetDownstream() == name {
			return d
		}
	}
	panic("no downstream " + name)
}

// line makes jobs wait in a lane.
func line(s *operatorv1.GetStatusResponse, name string, waiting uint64, oldest time.Duration, in, out float64) {
	l := Lane(s, name)
	l.Waiting, l.OldestWait, l.ArrivalRate, l.Rate, l.DrainTime = waiting, durationpb.New(oldest), in, out, nil
	if out > 0 {
		l.DrainTime = durationpb.New(time.Duration(float64(waiting) / out * float64(time.Second)))
	}
	s.Queue.Held += waiting
	s.Queue.Bytes += 400 * waiting
}

func offered(s *operatorv1.GetStatusResponse, rate, limited, shed, refused float64, reasons ...*operatorv1.ReasonRate) {
	s.Admission = &operatorv1.AdmissionStatus{
		Offered: rate, Admitted: rate - limited - shed, Limited: limited, Shed: shed, Refused: refused, Reasons: reasons, GlobalTokens: 31_000,
	}
}

// Override stands since ago, for an hour.
func Override(target, setting, reason string, ago time.Duration) *operatorv1.Override {
	return &operatorv1.Override{
		Target: target, Setting: setting, Before: "auto", Who: "alex", Reason: reason, SetTime: timestamppb.New(Now().Add(-ago)),
		ExpireTime: timestamppb.New(Now().Add(time.Hour - ago%time.Hour)),
	}
}

// Busy is a storm that goes well: a line of seconds, extras deferred.
func Busy() *operatorv1.GetStatusResponse {
	s := Calm()
	s.BrownoutLevel, s.BrownoutLevelAsked, s.BrownoutCause = 1, 1, "the oldest interactive job has waited 7 s"
	line(s, "start", 420, 7*time.Second, 60, 60)
	line(s, "apply", 30, time.Second, 40, 40)
	Lane(s, "mail").Rate, Lane(s, "mail").ArrivalRate = 58, 58
	line(s, "revoke", 900, 12*time.Minute, 40, 0) // deferred by the level
	d := Downstream(s, "store")
	d.InFlight, d.CallRate, d.ItemRate, d.Batch = 24, 50, 140, 4
	offered(s, 130, 0, 0, 0)
	return s
}

// StoreSlow is a store at half speed in a storm.
func StoreSlow() *operatorv1.GetStatusResponse {
	s := Calm()
	s.BrownoutLevel, s.BrownoutLevelAsked, s.BrownoutCause = 1, 1, "the oldest interactive job has waited 4m10s"
	line(s, "start", 9_800, 2*time.Minute, 60, 12)
	line(s, "hash", 3, time.Second, 30, 30)
	line(s, "apply", 8_900, 250*time.Second, 62, 24)
	d := Downstream(s, "store")
	d.ConcurrencyLimit, d.InFlight, d.CallRate, d.ItemRate, d.Batch, d.CallTime = 12, 12, 25, 50, 2, durationpb.New(480*time.Millisecond)
	d.Kinds = []*operatorv1.CallKindStatus{
		{Kind: "write", CallRate: 20, ItemRate: 24, CallTime: durationpb.New(550 * time.Millisecond)},
		{Kind: "lookup", CallRate: 5, ItemRate: 26, CallTime: durationpb.New(200 * time.Millisecond)},
	}
	offered(s, 130, 0, 0, 0)
	return s
}

// MailThrottled is a provider that refuses most of what it is sent.
func MailThrottled() *operatorv1.GetStatusResponse {
	s := Calm()
	line(s, "mail", 5_200, 3*time.Minute, 40, 9)
	Lane(s, "mail").Retrying = 300
	d := Downstream(s, "mail")
	d.ConcurrencyLimit, d.InFlight, d.CallRate, d.ItemRate, d.FailureRate, d.CallTime = 2, 1, 9, 9, 11, durationpb.New(90*time.Millisecond)
	offered(s, 70, 0, 0, 0)
	return s
}

// MailSlow is a provider that takes its time: nothing fails.
func MailSlow() *operatorv1.GetStatusResponse {
	s := Calm()
	line(s, "mail", 5_200, 3*time.Minute, 40, 9)
	d := Downstream(s, "mail")
	d.InFlight, d.CallRate, d.ItemRate, d.CallTime = 8, 9, 9, durationpb.New(880*time.Millisecond)
	offered(s, 70, 0, 0, 0)
	return s
}

// Flood is one client that sends nearly all there is.
func Flood() *operatorv1.GetStatusResponse {
	s := Calm()
	offered(s, 3_050, 2_996, 0, 0, &operatorv1.ReasonRate{Reason: "limit_client_ip", Rate: 2_996})
	return s
}

// DiskFilling has little above the reserve.
func DiskFilling() *operatorv1.GetStatusResponse {
	s := Calm()
	s.Disk.AvailableBytes = 2<<30 + 700<<20
	return s
}

// DiskSlow is a disk that something else writes to: starts wait, and the store has nothing to do.
func DiskSlow() *operatorv1.GetStatusResponse {
	s := Calm()
	s.Queue.CommitTime = durationpb.New(750 * time.Millisecond)
	line(s, "start", 420, 35*time.Second, 12, 6)
	return s
}

// DiskFull is below the reserve.
func DiskFull() *operatorv1.GetStatusResponse {
	s := Calm()
	s.Disk.AvailableBytes = 2<<30 - 4<<20
	s.Queue.Accepting, s.Queue.NotAcceptingCause = false, "queue: not durable: free disk below the reserve"
	offered(s, 2.1, 0, 0, 2.1, &operatorv1.ReasonRate{Reason: "not_durable", Rate: 2.1})
	return s
}

// StoreDark is a store that does not answer at all.
func StoreDark() *operatorv1.GetStatusResponse {
	s := Calm()
	s.BrownoutLevel, s.BrownoutLevelAsked, s.BrownoutCause = 1, 1, "the oldest interactive job has waited 4m"
	line(s, "start", 12_000, 4*time.Minute, 50, 0)
	line(s, "apply", 3_000, 4*time.Minute, 10, 0)
	d := Downstream(s, "store")
	d.Breaker, d.Ramp, d.InFlight, d.CallRate, d.ItemRate, d.FailureRate = "open", 0, 0, 0, 0, .3
	d.OutageStartTime, d.LastCallTime, d.LastSuccessTime = Ago(250*time.Second), Ago(2*time.Second), Ago(255*time.Second)
	offered(s, 60, 0, 0, 0)
	return s
}

// StoreHangs is a store that stopped answering ten seconds ago: no call has timed out yet.
func StoreHangs() *operatorv1.GetStatusResponse {
	s := Calm()
	line(s, "start", 690, 9800*time.Millisecond, 66, 13)
	line(s, "apply", 294, 9600*time.Millisecond, 31, 2.2)
	d := Downstream(s, "store")
	d.ConcurrencyLimit, d.InFlight, d.CallRate, d.ItemRate, d.FailureRate, d.CallTime = 2, 2, 3, 15, .1, durationpb.New(46*time.Millisecond)
	d.LastCallTime, d.LastSuccessTime = Ago(4*time.Second), Ago(4*time.Second+40*time.Millisecond)
	offered(s, 116, 0, 0, 0)
	return s
}

// StoreMisconfigured is a store that answers, and cannot do what is asked until somebody changes it.
func StoreMisconfigured() *operatorv1.GetStatusResponse {
	s := StoreDark()
	d := Downstream(s, "store")
	d.Misconfiguration = "grant UPDATE (password_hash) on users to the role surgegate"
	d.Failures = []*operatorv1.FailureStatus{{
		Outcome: "overload", Code: "SQLSTATE 42501", Count: 412, LastTime: Ago(2 * time.Second), Meaning: "a privilege is missing",
	}}
	return s
}

// RevokerUntried is a session service that failed in an outage of the store and has not been asked for anything since.
func RevokerUntried() *operatorv1.GetStatusResponse {
	s := Calm()
	d := Downstream(s, "revoker")
	d.Breaker, d.Ramp, d.CallRate, d.ItemRate, d.CallTime = "open", 1, 0, 0, nil
	d.OutageStartTime, d.LastCallTime, d.LastSuccessTime = Ago(40*time.Second), Ago(14*time.Second), Ago(41*time.Second)
	return s
}

// Starved is a surgegate beside a program that takes its processors: everything seems slow.
func Starved() *operatorv1.GetStatusResponse {
	s := StoreSlow()
	Downstream(s, "store").SpeedRatio = .3
	s.Process = &operatorv1.ProcessStatus{
		CpuStarved: true, CpuStarvedSince: Ago(time.Minute), SchedulingDelay: durationpb.New(85 * time.Millisecond), CpuLimit: 2, CpuUsed: .7,
	}
	return s
}

// HashBusy is a pool of one slot before a crowd.
func HashBusy() *operatorv1.GetStatusResponse {
	s := Calm()
	line(s, "hash", 1_900, 41*time.Second, 60, 46)
	d := Downstream(s, "hash_pool")
	d.InFlight, d.CallRate, d.ItemRate = 1, 46, 46
	offered(s, 130, 0, 0, 0)
	return s
}

// Parked is a few jobs that an operator has to decide on.
func Parked() *operatorv1.GetStatusResponse {
	s := Calm()
	Lane(s, "apply").Parked = 3
	s.Queue.Held += 3
	return s
}

// Paused is an override that nobody thought of any more.
func Paused() *operatorv1.GetStatusResponse {
	s := Calm()
	line(s, "apply", 640, 14*time.Minute, 1, 0)
	Lane(s, "apply").Paused = true
	s.Overrides = append(s.Overrides, Override("lane/apply/paused", "paused", "store maintenance", 15*time.Minute))
	return s
}

// Closing is a level that sheds new starts.
func Closing() *operatorv1.GetStatusResponse {
	s := StoreSlow()
	s.BrownoutLevel, s.BrownoutLevelAsked, s.BrownoutCause = 3, 3, "the line of starts is 82 % of what may be promised"
	offered(s, 1_300, 0, 900, 40, &operatorv1.ReasonRate{Reason: "shed_level_3", Rate: 900},
		&operatorv1.ReasonRate{Reason: "queue_full", Rate: 40})
	return s
}

// All are all of them, by name.
func All() map[string]*operatorv1.GetStatusResponse {
	return map[string]*operatorv1.GetStatusResponse{
		"calm": Calm(), "busy": Busy(), "store_slow": StoreSlow(), "mail_throttled": MailThrottled(), "mail_slow": MailSlow(), "flood": Flood(),
		"disk_filling": DiskFilling(), "disk_full": DiskFull(), "disk_slow": DiskSlow(), "store_dark": StoreDark(), "store_hangs": StoreHangs(),
		"store_misconfigured": StoreMisconfigured(), "revoker_untried": RevokerUntried(), "starved": Starved(),
		"hash_busy": HashBusy(), "parked": Parked(),
		"paused": Paused(), "closing": Closing(),
	}
}

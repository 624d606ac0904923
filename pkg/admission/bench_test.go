package admission_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/admission"
	"golang.org/x/time/rate"
)

func limitOf(r admission.Rule) rate.Limit { return rate.Limit(r.Rate.PerSecond()) }

// BenchmarkAdmit's reference is one bare rate.Limiter; a start takes from three.
func BenchmarkAdmit(b *testing.B) {
	open := admission.Config{Global: rule(1e9, time.Second, 2e9), Client: rule(1, time.Second, 1e9)}
	ids := [...]string{"web", "ios", "android", "partner"}
	request := func(op admission.Op, i int) admission.Request {
		return admission.Request{Op: op, IP: ipOf(i % 10_000), ClientID: ids[i%len(ids)]}
	}
	b.Run("reference=rate.Limiter", func(b *testing.B) {
		limiter, now := rate.NewLimiter(1e9, 1e9), epoch
		for b.Loop() {
			now = now.Add(time.Microsecond)
			limiter.AllowN(now, 1)
		}
	})
	for name, op := range map[string]admission.Op{"start": admission.OpStart, "complete": admission.OpComplete} {
		b.Run(name, func(b *testing.B) {
			a, now, i := newAdmission(b, open, admission.Deps{}), epoch, 0
			b.ReportAllocs()
			for b.Loop() {
				now, i = now.Add(time.Microsecond), i+1
				if _, err := a.Admit(now, request(op, i)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("start, default rules", func(b *testing.B) { // keys come and go
		a, now, i := newAdmission(b, admission.Config{Global: open.Global}, admission.Deps{}), epoch, 0
		b.ReportAllocs()
		for b.Loop() {
			now, i = now.Add(50*time.Microsecond), i+1
			_, _ = a.Admit(now, admission.Request{IP: ipOf(i)})
		}
	})
	b.Run("refused", func(b *testing.B) {
		a, now := newAdmission(b, admission.Config{Client: rule(1, 24*time.Hour, 1)}, admission.Deps{}), epoch
		b.ReportAllocs()
		for b.Loop() {
			now = now.Add(time.Microsecond)
			_, _ = a.Admit(now, admission.Request{IP: aliceIP})
		}
	})
	b.Run("refused, from everywhere", func(b *testing.B) { // no client twice in a second: the worst for the sketch of who is refused
		a, now, i := newAdmission(b, admission.Config{Client: rule(1, 24*time.Hour, 1), MaxKeys: 1 << 14}, admission.Deps{}), epoch, 0
		for i := range 1 << 16 {
			_, _ = a.Admit(now, admission.Request{IP: ipOf(i)})
		}
		b.ReportAllocs()
		for b.Loop() {
			now, i = now.Add(time.Microsecond), i+1
			_, _ = a.Admit(now, admission.Request{IP: ipOf(1<<16 + i%1_000_000)})
		}
	})
	b.Run("start, parallel", func(b *testing.B) {
		a := newAdmission(b, open, admission.Deps{})
		var goroutines atomic.Int64
		b.RunParallel(func(pb *testing.PB) {
			now, i := epoch, int(goroutines.Add(1))*1000
			for pb.Next() {
				now, i = now.Add(time.Microsecond), i+1
				if _, err := a.Admit(now, request(admission.OpStart, i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}

package simulate

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/reset"
)

// Somebody who shares neither address nor device is let in and refused as by pkg/admission, and told the same time.
func TestAPersonsOwnBucketIsAdmissions(t *testing.T) {
	t.Parallel()
	rule := admission.Config{}.WithDefaults().Client
	a, err := admission.New(admission.Config{Client: rule}, admission.Deps{Random: func() float64 { return 0 }})
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 1))
	var full uint32
	var now time.Duration
	refused, close := 0, 0
	for i := range 20_000 {
		now += time.Duration(r.Int64N(int64(4 * time.Second))).Truncate(time.Millisecond)
		if i%500 == 0 {
			now += 2 * time.Minute
		}
		_, err := a.Admit(at(int64(now)), admission.Request{Op: admission.OpStart, IP: netip.AddrFrom4([4]byte{10}), ClientID: "device"})
		_, _, surely := spend(rule, full+2, int64(now))
		after, wait, ok := spend(rule, full, int64(now))
		_, _, perhaps := spend(rule, max(full, 2)-2, int64(now))
		full = after
		if surely != perhaps { // at the very millisecond
			close++
			now += 2 * time.Minute // both are full then
			continue
		}
		if (err == nil) != ok {
			t.Fatalf("call %d at %v: admission says %v, the record %v", i, now, err, ok)
		}
		if err != nil {
			refused++
			var e *reset.Error
			if !errors.As(err, &e) {
				t.Fatal(err)
			}
			told := e.RetryAfter
			if d := told - max(wait, time.Second); d < -2*time.Millisecond || d > 2*time.Millisecond {
				t.Fatalf("call %d: admission says to come back in %v, the record in %v", i, told, wait)
			}
		}
	}
	if refused < 1000 || close > 20 {
		t.Errorf("%d calls were refused, %d were too close to tell", refused, close)
	}
}

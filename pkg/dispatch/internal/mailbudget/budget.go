package mailbudget

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/reset"
)

// Rate is a bound in mails a second, Burst at once. The zero value is no bound; a zero Burst is a tenth of a second's
// mails, at least one.
type Rate struct {
	PerSecond float64
	Burst     int
}

// Config of a Budget. The zero value works.
type Config struct {
	// Interactive bounds the mails that somebody waits for. Default: no bound.
	Interactive Rate
	// Bulk bounds the deferrable ones. Default: no bound.
	Bulk Rate
	// BulkShare is the share of the calls at once that deferrable mails may take, at least one call. Default 0.5: with
	// every mail of a reset link a confirmation follows, and half of the calls are free when the next person asks.
	BulkShare float64
}

// WithDefaults fills the zero fields.
func (c Config) WithDefaults() Config {
	c.Interactive = c.Interactive.withDefaults()
	c.Bulk = c.Bulk.withDefaults()
	if c.BulkShare == 0 {
		c.BulkShare = .5
	}
	return c
}

func (r Rate) withDefaults() Rate {
	if r.Burst == 0 && r.PerSecond > 0 {
		r.Burst = max(1, int(min(math.Ceil(r.PerSecond/10), maxBurst)))
	}
	return r
}

// maxBurst keeps the float64 of the bucket exact to far below one mail.
const maxBurst = 1 << 30

// Validate names the fields that are wrong.
func (c Config) Validate() error {
	c = c.WithDefaults()
	var errs []error
	for _, f := range []struct {
		name string
		rate Rate
	}{{"Interactive", c.Interactive}, {"Bulk", c.Bulk}} {
		if !(f.rate.PerSecond >= 0) || math.IsInf(f.rate.PerSecond, 1) {
			errs = append(errs, fmt.Errorf("%s: %v is no number of mails a second", f.name, f.rate.PerSecond))
		}
		if f.rate.Burst < 0 || f.rate.Burst > maxBurst {
			errs = append(errs, fmt.Errorf("%s: a burst of %d is not within 1 and %d", f.name, f.rate.Burst, maxBurst))
		}
	}
	if !(c.BulkShare > 0 && c.BulkShare <= 1) {
		errs = append(errs, fmt.Errorf("BulkShare: %v is not over 0 and at most 1", c.BulkShare))
	}
	return errors.Join(errs...)
}

func (r Rate) bucket() *clock.Limiter {
	if r.PerSecond == 0 {
		return nil
	}
	return clock.NewLimiter(rate.Limit(r.PerSecond), r.Burst)
}

// Budget is what the mail lane may send. Make it with New. Terms, Take and Leased are called by one runner, Done by
// whoever ends a bulk mail's call.
type Budget struct {
	mu                sync.Mutex
	share             float64
	interactive, bulk *clock.Limiter // nil: no bound
	// taken are the buckets that the mail about to be leased was taken from, nil where from none: what is configured may
	// change between Terms, Take and Leased.
	taken struct{ interactive, bulk *clock.Limiter }
	out   int // bulk mails leased and not done

	// changed is cancelled and replaced when a bulk mail is done or the configuration changes.
	changed       context.Context
	cancelChanged context.CancelFunc
}

// New returns a budget whose buckets are full.
func New(c Config) *Budget {
	c = c.WithDefaults()
	b := &Budget{share: c.BulkShare, interactive: c.Interactive.bucket(), bulk: c.Bulk.bucket()}
	b.changed, b.cancelChanged = context.WithCancel(context.Background())
	return b
}

// Configure changes the bounds from now on. A bound that stays keeps what its bucket holds, up to the new burst; one that
// comes begins full.
func (b *Budget) Configure(now time.Time, c Config) {
	c = c.WithDefaults()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.share = c.BulkShare
	b.interactive, b.bulk = c.Interactive.change(b.interactive, now), c.Bulk.change(b.bulk, now)
	b.announce()
}

func (r Rate) change(bucket *clock.Limiter, now time.Time) *clock.Limiter {
	if bucket == nil || r.PerSecond == 0 {
		return r.bucket()
	}
	bucket.Set(now, rate.Limit(r.PerSecond), r.Burst)
	return bucket
}

// announce ends the context of all Terms so far. Called under mu.
func (b *Budget) announce() {
	b.cancelChanged()
	b.changed, b.cancelChanged = context.WithCancel(context.Background())
}

// Terms are what may be leased now.
type Terms struct {
	OK   bool        // something may
	UpTo reset.Class // and up to which class
	// Wait is the time after which more may be leased, if it is positive. Changed ends when more may be leased before.
	Wait    time.Duration
	Changed context.Context
}

// Terms tells what of the classes up to one may be leased at now, with so many calls at once (0: any number).
func (b *Budget) Terms(now time.Time, upTo reset.Class, calls int) Terms {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := Terms{OK: true, UpTo: upTo, Changed: b.changed}
	// A lease hands out whoever is first in line, and cannot leave interactive mail out: both budgets must have room.
	if t.Wait = wait(b.interactive, now); t.Wait > 0 {
		t.OK = false
		return t
	}
	if upTo < reset.ClassDeferrable {
		return t
	}
	if t.Wait = wait(b.bulk, now); t.Wait > 0 || calls > 0 && b.out >= max(1, int(b.share*float64(calls))) {
		t.UpTo = reset.ClassSuspect
	}
	return t
}

func wait(bucket *clock.Limiter, now time.Time) time.Duration {
	if bucket == nil {
		return 0
	}
	return bucket.WaitFor(now, 1)
}

// Take takes what one mail may need, before it is leased; Terms has just said that it is there.
func (b *Budget) Take(now time.Time, upTo reset.Class) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken.interactive, b.taken.bulk = take(b.interactive, now), nil
	if upTo < reset.ClassDeferrable {
		return
	}
	b.taken.bulk = take(b.bulk, now)
	b.out++
}

// take returns the bucket that one was taken from.
func take(bucket *clock.Limiter, now time.Time) *clock.Limiter {
	if bucket == nil || !bucket.AllowN(now, 1) {
		return nil
	}
	return bucket
}

// Leased gives back what was taken and is not needed: a mail was leased or none, and it is bulk or not.
func (b *Budget) Leased(now time.Time, upTo reset.Class, leased, bulk bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.taken.interactive != nil && (!leased || bulk) {
		b.taken.interactive.GiveBack(now, 1)
	}
	if upTo < reset.ClassDeferrable || bulk {
		return
	}
	if b.taken.bulk != nil {
		b.taken.bulk.GiveBack(now, 1)
	}
	b.out--
}

// Done says that a bulk mail's call has ended.
func (b *Budget) Done() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.out--
	b.announce()
}

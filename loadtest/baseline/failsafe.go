package baseline

import (
	"fmt"
	"reflect"
	"time"
	"unsafe"

	"github.com/failsafe-go/failsafe-go/adaptivelimiter"

	"github.com/surgegate/surgegate/pkg/pace"
)

// failsafe adapts the library's limiter. See doc.go for how it gets its time.
type failsafe struct {
	limiter adaptivelimiter.AdaptiveLimiter[any]
	batch   int
	open    []adaptivelimiter.Permit // oldest first
	origin  time.Time                // the first time seen
	now     time.Time                // in the library's time
}

// NewFailsafe is failsafe-go's adaptive limiter with its defaults, but for the bounds.
func NewFailsafe(c Config) (pace.Pacer, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	f := &failsafe{
		limiter: adaptivelimiter.NewBuilder[any]().WithLimits(Least, Most, initial).Build(),
		batch:   c.withDefaults().Batch,
	}
	permit, ok := f.limiter.TryAcquirePermit()
	if !ok {
		return nil, fmt.Errorf("baseline: a new limiter of failsafe-go has no permit")
	}
	if err := f.setTimes(permit, future()); err != nil {
		return nil, err
	}
	permit.Drop()
	return f, nil
}

// future is later than any wall clock: the library's limiter begins with the wall clock's time.
func future() time.Time { return time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC) }

// Now is the clock that permits are recorded with.
func (f *failsafe) Now() time.Time { return f.now }

// setTimes gives a permit its start and this clock.
func (f *failsafe) setTimes(p adaptivelimiter.Permit, start time.Time) error {
	v := reflect.ValueOf(p)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("baseline: a permit of failsafe-go is a %v, not the struct that v0.9.8 has", v.Type())
	}
	for name, value := range map[string]reflect.Value{"startTime": reflect.ValueOf(start), "clock": reflect.ValueOf(f)} {
		field := v.Elem().FieldByName(name)
		if !field.IsValid() || !value.Type().AssignableTo(field.Type()) {
			return fmt.Errorf("baseline: a permit of failsafe-go has no field %s that takes a %v, as v0.9.8 has", name, value.Type())
		}
		// The field is not exported, so only its address lets it be set.
		reflect.NewAt(field.Type(), unsafe.Pointer(field.UnsafeAddr())).Elem().Set(value)
	}
	return nil
}

// virtual is t in the library's time.
func (f *failsafe) virtual(t time.Time) time.Time {
	if f.origin.IsZero() {
		f.origin = t
	}
	return future().Add(t.Sub(f.origin))
}

// Ask implements pace.Pacer.
func (f *failsafe) Ask(now time.Time, _ pace.Kind, items int) pace.Verdict {
	if items < 1 {
		panic(fmt.Sprintf("baseline: Ask for %d items", items))
	}
	f.virtual(now)
	permit, ok := f.limiter.TryAcquirePermit()
	if !ok {
		return pace.Verdict{}
	}
	f.open = append(f.open, permit)
	return pace.Verdict{Go: true, Items: min(items, f.batch)}
}

// Done implements pace.Pacer.
func (f *failsafe) Done(now time.Time, c pace.Call) {
	if len(f.open) == 0 {
		panic("baseline: Done without an Ask that was told Go")
	}
	permit := f.open[0]
	f.open = f.open[1:]
	f.now = f.virtual(now)
	if err := f.setTimes(permit, f.virtual(c.Start)); err != nil {
		panic(err) // NewFailsafe has tried it
	}
	// The library's executor drops what the caller cancelled and records everything else, failures too.
	if c.Items == 0 || c.Outcome == pace.OutcomeCanceled {
		permit.Drop()
		return
	}
	permit.Record()
}

// Resume implements pace.Pacer.
func (f *failsafe) Resume(time.Time) {}

// Limits implements pace.Pacer.
func (f *failsafe) Limits() pace.Limits {
	return pace.Limits{Concurrency: f.limiter.Limit(), InFlight: len(f.open), Batch: f.batch, Ramp: 1}
}

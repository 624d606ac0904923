package breakermodel

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surgegate/surgegate/pkg/breaker"
)

// The model is the breaker: whatever the calls do, both let the same ones through, tell the same time to come back and are
// in the same state.
func TestTheModelIsTheBreaker(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { compareBreakers(t, seed) })
		})
	}
}

// both is one call at the real breaker and at the model.
type both struct {
	done func(time.Time, breaker.Result)
	t    Ticket
}

func compareBreakers(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	config := breaker.Config{Name: "store", ProbeTimeout: 6 * time.Second}
	if seed%2 == 1 { // others than the defaults trip for another reason
		config.Consecutive, config.MinVolume, config.FailureShare, config.Window = 15, 10, .3, 5*time.Second
		config.Probes, config.MaxOpenWait, config.Calm = 1+r.IntN(4), 8*time.Second, 3*time.Second
	}
	realRandom, modelRandom := rand.New(rand.NewPCG(seed, 2)), rand.New(rand.NewPCG(seed, 2))
	real, err := breaker.New(config, breaker.Deps{Random: realRandom.Float64})
	if err != nil {
		t.Fatal(err)
	}
	model := New(config, modelRandom.Float64)
	begin := time.Now()
	var out []both
	trouble := 0.0 // share of calls that fail; changes as a store's does
	reached := map[breaker.State]int{}
	for step := range 3000 {
		// Now and then exactly on the second, where windows turn.
		pause := time.Duration(r.Int64N(int64(80 * time.Millisecond)))
		switch r.IntN(40) {
		case 0:
			pause = time.Duration(r.Int64N(int64(14 * time.Second)))
		case 1, 2:
			pause = time.Second - time.Since(begin)%time.Second
		}
		<-time.After(pause) // synctest's clock, which gobreaker reads
		if r.IntN(100) == 0 {
			trouble = []float64{0, .02, .3, .55, 1}[r.IntN(5)]
		}
		now := time.Now()
		if len(out) > 0 && r.IntN(5) < 2 {
			// Not always the oldest: calls overtake each other. Some never end.
			i := r.IntN(len(out))
			c := out[i]
			out = append(out[:i], out[i+1:]...)
			result := breaker.Success
			switch {
			case r.Float64() < trouble:
				result = breaker.Failure
			case r.IntN(20) == 0:
				result = breaker.Ignored
			}
			c.done(now, result)
			model.Report(now.Sub(begin), c.t, result)
		} else {
			done, err := real.Allow(now)
			ticket, retryAt, ok := model.Allow(now.Sub(begin))
			var open *breaker.OpenError
			switch {
			case (err == nil) != ok:
				t.Fatalf("step %d, %v: the breaker said %v, the model %v", step, now.Sub(begin), err, ok)
			case ok:
				out = append(out, both{done, ticket})
			case errors.As(err, &open) && !open.RetryAt.Equal(begin.Add(retryAt)):
				t.Fatalf("step %d, %v: come back at %v, the model says %v", step, now.Sub(begin), open.RetryAt.Sub(begin), retryAt)
			}
			if len(out) > 30 {
				out = out[1:]
			}
		}
		if real.State() != model.State() {
			t.Fatalf("step %d, %v: the breaker is %v, the model %v", step, now.Sub(begin), real.State(), model.State())
		}
		reached[model.State()]++
	}
	if len(reached) < 3 || model.Trips() < 2 {
		t.Errorf("not much was compared: %v, %d trips", reached, model.Trips())
	}
}

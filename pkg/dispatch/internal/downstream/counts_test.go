package downstream

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/pace"
)

func TestCountsAreByKind(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRegistry(t)
		store := r.make(t, Spec{Name: "store", Timeout: time.Minute, Pacer: bare(t, pace.Config{Concurrency: 8, Batch: 100})})
		revoker := r.make(t, Spec{Name: "revoker", Timeout: time.Minute, Host: store})
		call := func(d *Downstream, kind pace.Kind, items int, err error) {
			t.Helper()
			mustAcquire(t, d, Ask{Kind: kind, Items: items}).Do(t.Context(), items, func(ctx context.Context) error {
				must(t, clock.System{}.Sleep(ctx, 20*time.Millisecond))
				return err
			})
		}
		begun := time.Now()
		call(store, KindMain, 10, nil)
		call(store, KindLookup, 40, nil)
		call(store, KindLookup, 2, nil)
		call(revoker, KindMain, 3, nil)
		call(store, KindMain, 7, errBusy)
		call(store, KindMain, 1, errors.New("a constraint"))
		const each = 20 * time.Millisecond
		got := store.Status().Counts
		want := Counts{
			Calls: Calls{3, 52, 3 * each}, Failed: 2, Ended: 5, EndedTime: 5 * each,
			Kinds:    []KindCounts{{"write", Calls{1, 10, each}}, {"lookup", Calls{2, 42, 2 * each}}, {"revoke", Calls{1, 3, each}}},
			LastCall: begun.Add(5 * each), LastSuccess: begun.Add(3 * each),
		}
		kinds, wanted := got.Kinds, want.Kinds
		got.Kinds, want.Kinds = nil, nil
		if got.Calls != want.Calls || got.Failed != want.Failed || got.Ended != want.Ended || got.EndedTime != want.EndedTime ||
			!got.LastCall.Equal(want.LastCall) || !got.LastSuccess.Equal(want.LastSuccess) || !slices.Equal(kinds, wanted) {
			t.Errorf("%+v %+v, want %+v %+v", got, kinds, want, wanted)
		}
		if c := revoker.Status().Counts; c.Calls != (Calls{1, 3, each}) || len(c.Kinds) != 1 || c.Kinds[0].Kind != "revoke" {
			t.Errorf("revoker %+v", c)
		}
	})
}

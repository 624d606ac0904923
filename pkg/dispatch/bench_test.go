package dispatch_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/reset"
)

// BenchmarkIdleCompletion is the way of one hashed completion through an idle gateway, from the enqueue to the
// ticket's end; the reference in the same run is the store called directly.
func BenchmarkIdleCompletion(b *testing.B) {
	w := newWorld(b, options{})
	phc := w.hash()
	var direct, through time.Duration
	for i := 0; b.Loop(); i++ {
		id := w.many(1)[0]
		begin := time.Now()
		_, err := w.sqlite.SetPasswords(b.Context(), []credstore.Change{{
			AccountID: id, Password: credstore.Secret(phc), ChangeID: strconv.Itoa(i), Sequence: 1, AcceptTime: w.now(),
		}})
		if err != nil {
			b.Fatal(err)
		}
		direct += time.Since(begin)
		begin = time.Now()
		ref := w.apply("1", phc)
		changed, stop := w.queue.Watch(ref)
		for w.status(ref).State != reset.StateDone {
			<-changed
		}
		stop()
		through += time.Since(begin)
		w.drained() // the confirmation and the revocation are not part of it
	}
	b.ReportMetric(float64(direct.Microseconds())/float64(b.N), "direct-µs/op")
	b.ReportMetric(float64(through.Microseconds())/float64(b.N), "through-µs/op")
}

// BenchmarkBacklog is how fast a backlog of hashed completions is applied, beside the store called directly with full
// batches one after the other.
func BenchmarkBacklog(b *testing.B) {
	const n = 4096
	for b.Loop() {
		w := newWorld(b, options{idle: true, store: pace.Config{Concurrency: 2, Batch: 256}})
		ids, phc := w.many(n), w.hash()
		var last reset.Ref
		for _, id := range ids {
			last = w.apply(id, phc)
		}
		w.dispatch.SetLevel(1) // confirmations would compete for the store
		begin := time.Now()
		w.run()
		w.ends(last, reset.StateDone, reset.ReasonNone)
		through := time.Since(begin)
		begin = time.Now()
		for from := 0; from < n; from += 256 {
			changes := make([]credstore.Change, 256)
			for i := range changes {
				changes[i] = credstore.Change{
					AccountID: ids[from+i], Password: credstore.Secret(phc), ChangeID: "again", Sequence: 1 << 62, AcceptTime: w.now(),
				}
			}
			if _, err := w.sqlite.SetPasswords(b.Context(), changes); err != nil {
				b.Fatal(err)
			}
		}
		direct := time.Since(begin)
		b.ReportMetric(n/through.Seconds(), "through/s")
		b.ReportMetric(n/direct.Seconds(), "direct/s")
		w.stop()
	}
}

package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/surgegate/surgegate/pkg/reset"
)

// sweepBatch is how many entries one sweep request looks at, so that it holds the committer for a few milliseconds only.
const sweepBatch = 1000

// sweep deletes final tickets, marks, records and passages that are past their time, in many small requests.
func (e *Engine) sweep(ctx context.Context) error {
	for more := true; more; {
		if err := e.submit(ctx, func(t *tx) { more = t.sweepRetention() }); err != nil {
			return err
		}
	}
	for more := true; more; {
		if err := e.submit(ctx, func(t *tx) { more = t.sweepPassages() }); err != nil {
			return err
		}
	}
	return nil
}

// sweepRetention handles up to sweepBatch entries of the retention index whose hour is over, and reports whether there may
// be more.
func (t *tx) sweepRetention() (more bool) {
	hour := uint32(t.wallTime / time.Hour.Microseconds())
	upper := binary.BigEndian.AppendUint32([]byte{prefixRetention}, hour)
	it, err := t.e.db.NewIter(&pebble.IterOptions{LowerBound: []byte{prefixRetention}, UpperBound: upper})
	if err != nil {
		t.abort(err)
		return false
	}
	var last []byte
	n := 0
	for ok := it.First(); ok && n < sweepBatch; ok = it.Next() {
		last = append(last[:0], it.Key()...)
		n++
		if len(last) > 5 && t.isPastRetention(last[5:]) {
			t.delete(bytes.Clone(last[5:]))
		}
	}
	if err := it.Close(); err != nil {
		t.abort(err)
	}
	if n > 0 {
		if err := t.batch.DeleteRange([]byte{prefixRetention}, append(last, 0), nil); err != nil {
			t.abort(err)
		}
	}
	return n == sweepBatch
}

// isPastRetention reports whether the entry with the key is past its time. It may have been written again since the index
// entry was.
func (t *tx) isPastRetention(key []byte) bool {
	b := t.get(key)
	if b == nil {
		return false
	}
	switch key[0] {
	case prefixTicket:
		r, err := decodeTicket(b)
		return err == nil && r.state.Final() && r.update+t.e.cfg.Retention.Microseconds() <= t.now
	case prefixMark:
		r, err := decodeMark(b)
		return err == nil && r.expire != 0 && r.expire <= t.wallTime
	case prefixRecord:
		r, err := decodeRecord("", "", b)
		return err == nil && isRecordExpired(r, t.wallTime)
	}
	return false
}

// sweepPassages deletes up to sweepBatch passages a class that are past the retention, and reports whether there may be
// more.
func (t *tx) sweepPassages() (more bool) {
	for _, class := range reset.Classes() {
		it, err := t.e.db.NewIter(&pebble.IterOptions{
			LowerBound: []byte{prefixPassage, byte(class)}, UpperBound: []byte{prefixPassage, byte(class) + 1},
		})
		if err != nil {
			t.abort(err)
			return false
		}
		var last []byte
		n := 0
		for ok := it.First(); ok && n < sweepBatch; ok = it.Next() {
			v := it.Value()
			if len(v) != 16 || int64At(v[8:])+t.e.cfg.Retention.Microseconds() > t.now {
				break
			}
			last = append(last[:0], it.Key()...)
			n++
		}
		if err := it.Close(); err != nil {
			t.abort(err)
		}
		if n > 0 {
			if err := t.batch.DeleteRange([]byte{prefixPassage, byte(class)}, append(last, 0), nil); err != nil {
				t.abort(err)
			}
		}
		more = more || n == sweepBatch
	}
	return more
}

package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// readDurable calls read under Engine.mu, with the machine's time in µs, and returns once everything that read saw is
// durable.
func (e *Engine) readDurable(ctx context.Context, read func(wall int64) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := e.beginCall(); err != nil {
		return err
	}
	defer e.endCall()
	e.mu.RLock()
	g := e.lastGroup
	err := read(e.deps.Clock.Now().UnixMicro())
	e.mu.RUnlock()
	if err != nil {
		return err
	}
	return e.waitDurable(ctx, g)
}

// Get implements queue.Records.
func (e *Engine) Get(ctx context.Context, kind queue.RecordKind, key string) (r queue.Record, err error) {
	err = e.readDurable(ctx, func(wall int64) error {
		b, closer, err := e.db.Get(keyRecord(kind, key))
		if errors.Is(err, pebble.ErrNotFound) {
			return queue.ErrNotFound
		} else if err != nil {
			return fmt.Errorf("queue: read record: %w", err)
		}
		r, err = decodeRecord(kind, key, b)
		_ = closer.Close()
		if err == nil && isRecordExpired(r, wall) {
			r, err = queue.Record{}, queue.ErrNotFound
		}
		return err
	})
	return r, err
}

// isRecordExpired reports whether r is past its time by the machine's clock, in µs.
func isRecordExpired(r queue.Record, wall int64) bool {
	return !r.ExpireTime.IsZero() && micros(r.ExpireTime) <= wall
}

// Put implements queue.Records.
func (e *Engine) Put(ctx context.Context, w queue.RecordWrite) error {
	return e.PutAll(ctx, []queue.RecordWrite{w})
}

// PutAll implements queue.Records.
func (e *Engine) PutAll(ctx context.Context, writes []queue.RecordWrite) error {
	if len(writes) > queue.MaxRecordWrites {
		return fmt.Errorf("%w: %d records at once, at most %d", queue.ErrTooLarge, len(writes), queue.MaxRecordWrites)
	}
	writes = slices.Clone(writes)
	for i := range writes {
		if err := checkRecord(writes[i]); err != nil {
			return err
		}
		writes[i].Value = bytes.Clone(writes[i].Value)
	}
	var result error
	if err := e.submit(ctx, func(t *tx) {
		if result = t.checkVersions(writes); result != nil {
			return
		}
		for _, w := range writes {
			t.writeRecord(w)
		}
	}); err != nil {
		return err
	}
	return result
}

// checkRecord checks the bounds of a write.
func checkRecord(w queue.RecordWrite) error {
	if len(w.Kind) == 0 || len(w.Kind) > 16 || len(w.Key) > 128 || len(w.Value) > 64<<10 {
		return fmt.Errorf("%w: record %q with a key of %d and a value of %d bytes", queue.ErrTooLarge, w.Kind, len(w.Key), len(w.Value))
	}
	return nil
}

// recordVersion returns the stored version of w's record; 0 when it is absent or expired.
func (t *tx) recordVersion(w queue.RecordWrite) uint64 {
	b := t.get(keyRecord(w.Kind, w.Key))
	if b == nil {
		return 0
	}
	r, err := decodeRecord(w.Kind, w.Key, b)
	if err != nil {
		t.abort(err)
	}
	if isRecordExpired(r, t.wallTime) {
		return 0
	}
	return r.Version
}

// checkVersions returns ErrConflict unless every record has the version that its write expects.
func (t *tx) checkVersions(writes []queue.RecordWrite) error {
	for _, w := range writes {
		if w.Version != queue.AnyVersion && t.recordVersion(w) != w.Version {
			return queue.ErrConflict
		}
	}
	return nil
}

func (t *tx) writeRecord(w queue.RecordWrite) {
	key := keyRecord(w.Kind, w.Key)
	if w.Value == nil {
		t.delete(key)
		return
	}
	r := queue.Record{Version: t.recordVersion(w) + 1, Value: w.Value, ExpireTime: w.ExpireTime}
	t.set(key, appendRecord(nil, r))
	if !w.ExpireTime.IsZero() {
		t.setBatchOnly(keyRetention(micros(w.ExpireTime), key), nil)
	}
}

// List implements queue.Records.
func (e *Engine) List(ctx context.Context, kind queue.RecordKind, after string, limit int) ([]queue.Record, error) {
	lower := keyRecord(kind, after)
	if after != "" {
		lower = append(lower, 0)
	}
	return e.list(ctx, kind, lower, recordsUpperBound(kind), limit, (*pebble.Iterator).First, (*pebble.Iterator).Next)
}

// ListBack implements queue.Records.
func (e *Engine) ListBack(ctx context.Context, kind queue.RecordKind, before string, limit int) ([]queue.Record, error) {
	upper := recordsUpperBound(kind)
	if before != "" {
		upper = keyRecord(kind, before)
	}
	return e.list(ctx, kind, keyRecord(kind, ""), upper, limit, (*pebble.Iterator).Last, (*pebble.Iterator).Prev)
}

// recordsUpperBound returns the first key after the last possible record of the kind.
func recordsUpperBound(kind queue.RecordKind) []byte {
	upper := keyRecord(kind, "")
	upper[len(upper)-1] = 1
	return upper
}

func (e *Engine) list(ctx context.Context, kind queue.RecordKind, lower, upper []byte, limit int, begin, step func(*pebble.Iterator) bool,
) (out []queue.Record, err error) {
	err = e.readDurable(ctx, func(wall int64) error {
		it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
		if err != nil {
			return fmt.Errorf("queue: list records: %w", err)
		}
		for ok := begin(it); ok && len(out) < limit; ok = step(it) {
			r, err := decodeRecord(kind, string(it.Key()[2+len(kind):]), it.Value())
			if err != nil {
				return errors.Join(err, it.Close())
			}
			if !isRecordExpired(r, wall) {
				out = append(out, r)
			}
		}
		return it.Close()
	})
	return out, err
}

// Mark implements queue.Records. It waits only if the newest write of this account's mark is not durable yet. Every
// completion begins with this call; waiting for all earlier writes would add a commit to it.
func (e *Engine) Mark(ctx context.Context, account reset.Key) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := e.beginCall(); err != nil {
		return 0, err
	}
	defer e.endCall()
	e.mu.RLock()
	g := e.unsyncedMarkGroup(account)
	mark, err := e.readMark(account)
	e.mu.RUnlock()
	if err != nil {
		return 0, err
	}
	if err := e.waitDurable(ctx, g); err != nil {
		return 0, err
	}
	return mark, nil
}

func (e *Engine) readMark(account reset.Key) (uint64, error) {
	b, closer, err := e.db.Get(key16(prefixMark, account))
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	} else if err != nil {
		return 0, fmt.Errorf("queue: read mark: %w", err)
	}
	m, err := decodeMark(b)
	_ = closer.Close()
	if err != nil || m.expire != 0 && m.expire <= e.deps.Clock.Now().UnixMicro() {
		return 0, err
	}
	return m.mark, nil
}

package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// Parked implements queue.Operator.
func (e *Engine) Parked(ctx context.Context, lane reset.Lane, after reset.ID, limit int) (out []queue.ParkedJob, err error) {
	err = e.readDurable(ctx, func(int64) error {
		out, err = e.listParked(lane, after, limit)
		return err
	})
	return out, err
}

// listParked reads the page of parked jobs after the given one. The caller holds Engine.mu.
func (e *Engine) listParked(lane reset.Lane, after reset.ID, limit int) (out []queue.ParkedJob, err error) {
	lower := []byte{prefixParked}
	if !after.IsZero() {
		b, closer, err := e.db.Get(key16(prefixParkedID, after))
		if errors.Is(err, pebble.ErrNotFound) {
			return nil, queue.ErrNotFound
		} else if err != nil {
			return nil, fmt.Errorf("queue: read parked: %w", err)
		}
		lower = append(bytes.Clone(b), 0)
		_ = closer.Close()
	}
	it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: []byte{prefixParked + 1}})
	if err != nil {
		return nil, fmt.Errorf("queue: list parked: %w", err)
	}
	for ok := it.First(); ok && len(out) < limit; ok = it.Next() {
		p, since, err := decodeKeyParked(it.Key())
		if err != nil {
			return nil, errors.Join(err, it.Close())
		}
		if lane != 0 && p.lane != lane {
			continue
		}
		b, closer, err := e.db.Get(keySlot(prefixSetAside, p))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("queue: read parked: %w", err), it.Close())
		}
		rec, _, err := decodeJob(b, p.seq)
		rec.job.Payload = nil
		_ = closer.Close()
		if err != nil {
			return nil, errors.Join(err, it.Close())
		}
		out = append(out, queue.ParkedJob{Job: rec.job, ParkTime: fromMicros(since), Cause: string(it.Value())})
	}
	return out, it.Close()
}

// readParked reads a parked job; ErrNotFound if no parked job has the id.
func (t *tx) readParked(id reset.ID) (rec jobRecord, size uint64, err error) {
	b := t.get(key16(prefixParkedID, id))
	if b == nil {
		return rec, 0, queue.ErrNotFound
	}
	p, _, err := decodeKeyParked(b)
	if err != nil {
		t.abort(err)
		return rec, 0, err
	}
	rec, size, ok := t.readJob(prefixSetAside, p)
	if !ok {
		return rec, 0, t.err
	}
	return rec, size, nil
}

// Requeue implements queue.Operator.
func (e *Engine) Requeue(ctx context.Context, ids []reset.ID) []error {
	return forEachItem(ctx, e, ids, func(t *tx, id *reset.ID) error {
		rec, size, err := t.readParked(*id)
		if err != nil {
			return err
		}
		moved := t.setAside(&lease{rec: rec, size: size, index: -1})
		moved.job.Attempts = 0
		t.writeRetry(&moved, t.now)
		return nil
	})
}

// GiveUp implements queue.Operator.
func (e *Engine) GiveUp(ctx context.Context, ids []reset.ID) []error {
	return forEachItem(ctx, e, ids, func(t *tx, id *reset.ID) error {
		rec, size, err := t.readParked(*id)
		if err != nil {
			return err
		}
		t.endJob(&rec, size, reset.StateFailed, reset.ReasonOperator, true)
		return nil
	})
}

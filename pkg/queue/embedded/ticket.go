package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// Ticket implements queue.Producer.
func (e *Engine) Ticket(ctx context.Context, ref reset.Ref) (queue.Status, error) {
	if err := e.beginCall(); err != nil {
		return queue.Status{}, err
	}
	defer e.endCall()
	if !isValidLaneClass(ref.Lane, ref.Class) {
		return queue.Status{}, queue.ErrNotFound
	}
	e.mu.RLock()
	now, wall := e.readTimes()
	g := e.lastGroup
	var s queue.Status
	var err error
	if ref.Lane == reset.LaneStart {
		s, err = e.startStatus(ref, now)
		if !s.DoneTime.IsZero() {
			// DoneTime is told by the machine's clock, which is also the caller's.
			s.DoneTime = s.DoneTime.Add(-time.Duration(clockLag(now, wall)) * time.Microsecond)
			if s.State == reset.StateDone {
				s.UpdateTime = s.DoneTime
			}
		}
	} else {
		s, err = e.ticketStatus(ref, now)
		if s.State.Final() {
			// A final state does not change any more. It is durable with the group that wrote it, at its UpdateTime.
			g = e.newestUnsyncedGroup(micros(s.UpdateTime))
		}
	}
	e.mu.RUnlock()
	if err != nil {
		return queue.Status{}, err
	}
	// What the answer says must still be true after a power cut.
	if err := e.waitDurable(ctx, g); err != nil {
		return queue.Status{}, err
	}
	return s, nil
}

// startStatus computes the status of a start's ticket at the queue's time now, in µs. The ticket has no record: its state
// follows from its place and from the first passage at or after that place. The caller holds Engine.mu.
func (e *Engine) startStatus(ref reset.Ref, now int64) (queue.Status, error) {
	m := &e.mem
	if ref.Seq == 0 || ref.Seq > m.Queues[ref.Lane][ref.Class].Last {
		return queue.Status{}, queue.ErrNotFound
	}
	s := queue.Status{State: reset.StateAccepted, Lane: ref.Lane, UpdateTime: ref.AcceptTime}
	if passed := m.passedOrdinal(ref.Lane, ref.Class); ref.Seq > passed {
		s.Ahead = ref.Seq - passed
		return s, nil
	}
	it, err := e.db.NewIter(&pebble.IterOptions{
		LowerBound: keyPassage(ref.Class, ref.Seq),
		UpperBound: []byte{prefixPassage, byte(ref.Class) + 1},
	})
	if err != nil {
		return s, fmt.Errorf("queue: read passage: %w", err)
	}
	var done int64
	if it.First() {
		v, verr := it.ValueAndErr()
		if err = verr; err == nil && len(v) == 16 && binary.BigEndian.Uint64(v) <= ref.Seq {
			done = int64At(v[8:])
		}
	}
	if err = errors.Join(err, it.Close()); err != nil {
		return s, fmt.Errorf("queue: read passage: %w", err)
	}
	if done == 0 || done+e.cfg.Retention.Microseconds() <= now {
		return s, queue.ErrNotFound
	}
	s.DoneTime = fromMicros(done)
	if done <= now {
		s.State, s.UpdateTime = reset.StateDone, s.DoneTime
	}
	return s, nil
}

// ticketStatus reads the status of any other ticket. The caller holds Engine.mu.
func (e *Engine) ticketStatus(ref reset.Ref, now int64) (queue.Status, error) {
	b, closer, err := e.db.Get(key16(prefixTicket, ref.ID))
	if errors.Is(err, pebble.ErrNotFound) {
		return queue.Status{}, queue.ErrNotFound
	} else if err != nil {
		return queue.Status{}, fmt.Errorf("queue: read ticket: %w", err)
	}
	t, err := decodeTicket(b)
	_ = closer.Close()
	if err != nil {
		return queue.Status{}, fmt.Errorf("queue: %w", err)
	}
	s := queue.Status{State: t.state, Reason: t.reason, UpdateTime: fromMicros(t.update), Lane: t.slot.lane}
	if t.state.Final() {
		if t.update+e.cfg.Retention.Microseconds() <= now {
			return queue.Status{}, queue.ErrNotFound
		}
		return s, nil
	}
	l := e.mem.leaseBySlot[t.slot]
	last := t.slot.lane == ordinalLane(t.slot.lane)
	switch {
	case l != nil && !l.expired && last:
		s.State = reset.StateRunning
	case l != nil && last, t.flags&flagPassed != 0:
		s.Retrying = t.flags&(flagRetrying|flagParked) != 0 && l == nil
	default:
		s.Retrying = t.flags&(flagRetrying|flagParked) != 0 && l == nil
		if passed := e.mem.passedOrdinal(t.slot.lane, t.slot.class); t.ordinal > passed {
			s.Ahead = t.ordinal - passed
		}
	}
	return s, nil
}

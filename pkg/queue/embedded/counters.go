package embedded

import (
	"encoding/binary"
	"fmt"
)

// counters are written with every commit that changes them, so Open reads them and counts nothing. Fields are exported
// within the struct's encoding order: a new field goes to the end and needs a new format version.
type counters struct {
	Enqueued, Ended, Bytes uint64 // jobs since the queue began, and bytes of the jobs held
	Clock                  int64  // µs; the queue's time of the last group
	Queues                 [laneCount][classCount]queueCounters
	Ordinals               [laneCount][classCount]ordinalCounters // by ordinalLane
}

// queueCounters counts the jobs of one lane and class.
type queueCounters struct {
	Last     uint64 // the last sequence given out
	Floor    uint64 // no job lies below it
	InLine   uint64 // waiting or leased
	Retrying uint64
	Parked   uint64
}

// ordinalCounters counts the ordinals, which tickets count with, of one lane and class.
type ordinalCounters struct {
	Last           uint64 // the last ordinal given out
	Ended          uint64 // whose job has ended
	PassedSetAside uint64 // whose job is set aside and was leased in its last lane before
	Passed         uint64 // how many have been passed; never falls
}

const counterFields = 4 + 5*laneCount*classCount + 4*laneCount*classCount

func (c *counters) each(f func(*uint64)) {
	f(&c.Enqueued)
	f(&c.Ended)
	f(&c.Bytes)
	u := uint64(c.Clock)
	f(&u)
	c.Clock = int64(u)
	for l := range c.Queues {
		for k := range c.Queues[l] {
			n := &c.Queues[l][k]
			f(&n.Last)
			f(&n.Floor)
			f(&n.InLine)
			f(&n.Retrying)
			f(&n.Parked)
		}
	}
	for g := range c.Ordinals {
		for k := range c.Ordinals[g] {
			n := &c.Ordinals[g][k]
			f(&n.Last)
			f(&n.Ended)
			f(&n.PassedSetAside)
			f(&n.Passed)
		}
	}
}

func (c *counters) append(b []byte) []byte {
	b = append(b, formatVersion)
	c.each(func(u *uint64) { b = binary.AppendUvarint(b, *u) })
	return b
}

func (c *counters) decode(b []byte) error {
	if len(b) < 1+counterFields || b[0] != formatVersion {
		return fmt.Errorf("counters of %d bytes: %w", len(b), errCorrupt)
	}
	b = b[1:]
	var err error
	c.each(func(u *uint64) {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			err = fmt.Errorf("counters: %w", errCorrupt)
			return
		}
		*u, b = v, b[n:]
	})
	return err
}

package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// The first byte of every key; the layouts are drawn in the package comment.
const (
	prefixSetAside  = 'a'
	prefixCounters  = 'c'
	prefixRecord    = 'd'
	prefixExpire    = 'e'
	prefixParkedID  = 'i'
	prefixJob       = 'j'
	prefixOpen      = 'k'
	prefixMark      = 'm'
	prefixParked    = 'p'
	prefixRetry     = 'r'
	prefixPassage   = 's'
	prefixTicket    = 't'
	prefixRetention = 'x'
)

const (
	formatVersion    = 1
	headerBytes      = 116
	placeholderBytes = 10
	ticketBytes      = 30
	markBytes        = 67
	openBytes        = 10 // what every open key begins with

	flagPlaceholder = 1 << 0 // a coalesced ask's place: no job
	flagUnique      = 1 << 1
	flagPassed      = 1 << 2 // counted as passed in its line
	flagRetrying    = 1 << 3 // aside, waits for its time
	flagParked      = 1 << 4 // aside, waits for an operator
	flagTraced      = 1 << 5 // its trace follows the payload; only ever in a record, never in jobRecord.flags
)

var errCorrupt = errors.New("embedded: record is damaged or of a newer format")

// place says where a job lies. It is unique among open jobs.
type slot struct {
	lane  reset.Lane
	class reset.Class
	seq   uint64
}

// jobRecord is a job and what the engine remembers of it.
type jobRecord struct {
	job     reset.Job
	seq     uint64
	ordinal uint64 // place in the line as tickets count it; equals seq but for completions
	at      int64  // µs; retrying: not before; parked: since
	flags   byte
}

func (r *jobRecord) slot() slot       { return slot{r.job.Lane, r.job.Class, r.seq} }
func (r *jobRecord) isSetAside() bool { return r.flags&(flagRetrying|flagParked) != 0 }

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// appendJob encodes the record; without payload it is the value of an open key.
func appendJob(b []byte, r *jobRecord, payload bool) []byte {
	j := &r.job
	flags := r.flags
	if j.Unique {
		flags |= flagUnique
	}
	traced := payload && !j.Trace.IsZero()
	if traced {
		flags |= flagTraced
	}
	b = append(b, formatVersion, flags, byte(j.Lane), byte(j.Class))
	b = binary.BigEndian.AppendUint32(b, j.Attempts)
	b = binary.BigEndian.AppendUint64(b, r.ordinal)
	b = binary.BigEndian.AppendUint64(b, j.Sequence)
	b = binary.BigEndian.AppendUint64(b, uint64(micros(j.AcceptTime)))
	b = binary.BigEndian.AppendUint64(b, uint64(micros(j.ExpireTime)))
	b = binary.BigEndian.AppendUint64(b, uint64(r.at))
	b = append(b, j.ID[:]...)
	b = append(b, j.Ticket[:]...)
	b = append(b, j.Key[:]...)
	b = append(b, j.Account[:]...)
	// The payload's length lets an open key tell the job's size without carrying the payload.
	b = binary.BigEndian.AppendUint32(b, uint32(len(j.Payload)))
	if payload {
		b = append(b, j.Payload...)
	}
	if traced {
		b = j.Trace.Append(b)
	}
	return b
}

// decodeJob decodes a job record. The payload aliases b. size is what the job counts for in Stats.Bytes.
func decodeJob(b []byte, seq uint64) (r jobRecord, size uint64, err error) {
	if len(b) < headerBytes || b[0] != formatVersion || b[1]&flagPlaceholder != 0 {
		return r, 0, fmt.Errorf("job of %d bytes: %w", len(b), errCorrupt)
	}
	n := binary.BigEndian.Uint32(b[112:])
	whole := headerBytes + uint64(n)
	if b[1]&flagTraced != 0 {
		whole += reset.TraceBytes
	}
	// Only an open key, which is never traced, has no payload where its length says that there is one.
	if uint64(len(b)) != whole && (b[1]&flagTraced != 0 || len(b) != headerBytes) {
		return r, 0, fmt.Errorf("job of %d bytes with a payload of %d: %w", len(b), n, errCorrupt)
	}
	r.seq, r.flags = seq, b[1]&^flagTraced
	if b[1]&flagTraced != 0 {
		r.job.Trace = reset.TraceOf(b[headerBytes+n:])
		b = b[:headerBytes+n]
	}
	j := &r.job
	j.Unique = b[1]&flagUnique != 0
	j.Lane, j.Class = reset.Lane(b[2]), reset.Class(b[3])
	if !isValidLaneClass(j.Lane, j.Class) {
		return r, 0, fmt.Errorf("job in %v, %v: %w", j.Lane, j.Class, errCorrupt)
	}
	j.Attempts = binary.BigEndian.Uint32(b[4:])
	r.ordinal = binary.BigEndian.Uint64(b[8:])
	j.Sequence = binary.BigEndian.Uint64(b[16:])
	j.AcceptTime = fromMicros(int64(binary.BigEndian.Uint64(b[24:])))
	j.ExpireTime = fromMicros(int64(binary.BigEndian.Uint64(b[32:])))
	r.at = int64(binary.BigEndian.Uint64(b[40:]))
	copy(j.ID[:], b[48:])
	copy(j.Ticket[:], b[64:])
	copy(j.Key[:], b[80:])
	copy(j.Account[:], b[96:])
	if len(b) > headerBytes {
		j.Payload = b[headerBytes:]
	}
	return r, uint64(headerBytes) + uint64(n), nil
}

// appendOpen encodes the value of an open key: enough to join the job (its place, in the mail lane also its ticket) or
// to supersede it.
func appendOpen(r *jobRecord) []byte {
	b := make([]byte, 0, openBytes+headerBytes)
	b = append(b, formatVersion, byte(r.job.Class))
	b = binary.BigEndian.AppendUint64(b, r.seq)
	switch r.job.Lane {
	case reset.LaneStart:
		return b
	case reset.LaneMail:
		return append(b, r.job.Ticket[:]...)
	}
	return appendJob(b, r, false)
}

func decodeOpen(b []byte, lane reset.Lane) (r jobRecord, size uint64, err error) {
	coalesces := lane == reset.LaneStart || lane == reset.LaneMail
	if len(b) < openBytes || b[0] != formatVersion || coalesces && !isValidLaneClass(lane, reset.Class(b[1])) {
		return r, 0, fmt.Errorf("open key of %d bytes: %w", len(b), errCorrupt)
	}
	seq := binary.BigEndian.Uint64(b[2:])
	if !coalesces {
		return decodeJob(b[openBytes:], seq)
	}
	r.seq, r.job.Lane, r.job.Class = seq, lane, reset.Class(b[1])
	copy(r.job.Ticket[:], b[openBytes:])
	return r, 0, nil
}

func appendPlaceholder(b []byte, accept time.Time) []byte {
	return binary.BigEndian.AppendUint64(append(b, formatVersion, flagPlaceholder), uint64(micros(accept)))
}

func isPlaceholder(b []byte) bool {
	return len(b) == placeholderBytes && b[0] == formatVersion && b[1]&flagPlaceholder != 0
}

// ticketRecord is what is known of a ticket that is not a start's.
type ticketRecord struct {
	state   reset.State
	reason  reset.Reason
	slot    slot
	ordinal uint64
	flags   byte
	update  int64 // µs
}

func appendTicket(b []byte, t ticketRecord) []byte {
	b = append(b, formatVersion, byte(t.state), byte(t.reason), byte(t.slot.lane), byte(t.slot.class), t.flags)
	b = binary.BigEndian.AppendUint64(b, t.slot.seq)
	b = binary.BigEndian.AppendUint64(b, t.ordinal)
	return binary.BigEndian.AppendUint64(b, uint64(t.update))
}

func decodeTicket(b []byte) (t ticketRecord, err error) {
	if len(b) != ticketBytes || b[0] != formatVersion {
		return t, fmt.Errorf("ticket of %d bytes: %w", len(b), errCorrupt)
	}
	t.state, t.reason = reset.State(b[1]), reset.Reason(b[2])
	t.slot.lane, t.slot.class, t.flags = reset.Lane(b[3]), reset.Class(b[4]), b[5]
	t.slot.seq = binary.BigEndian.Uint64(b[6:])
	t.ordinal = binary.BigEndian.Uint64(b[14:])
	t.update = int64(binary.BigEndian.Uint64(b[22:]))
	return t, nil
}

// markRecord is an account's mark, with what a repeat of the request that raised it gets.
type markRecord struct {
	mark    uint64
	expire  int64 // µs
	request reset.Key
	ref     reset.Ref
}

func appendMark(b []byte, m markRecord) []byte {
	b = append(b, formatVersion, byte(m.ref.Lane), byte(m.ref.Class))
	b = binary.BigEndian.AppendUint64(b, m.mark)
	b = binary.BigEndian.AppendUint64(b, uint64(m.expire))
	b = append(b, m.request[:]...)
	b = append(b, m.ref.ID[:]...)
	b = binary.BigEndian.AppendUint64(b, m.ref.Seq)
	return binary.BigEndian.AppendUint64(b, uint64(micros(m.ref.AcceptTime)))
}

func decodeMark(b []byte) (m markRecord, err error) {
	if len(b) != markBytes || b[0] != formatVersion {
		return m, fmt.Errorf("mark of %d bytes: %w", len(b), errCorrupt)
	}
	m.ref.Lane, m.ref.Class = reset.Lane(b[1]), reset.Class(b[2])
	m.mark = binary.BigEndian.Uint64(b[3:])
	m.expire = int64(binary.BigEndian.Uint64(b[11:]))
	copy(m.request[:], b[19:])
	copy(m.ref.ID[:], b[35:])
	m.ref.Seq = binary.BigEndian.Uint64(b[51:])
	m.ref.AcceptTime = fromMicros(int64(binary.BigEndian.Uint64(b[59:])))
	return m, nil
}

func appendRecord(b []byte, r queue.Record) []byte {
	b = append(b, formatVersion)
	b = binary.BigEndian.AppendUint64(b, r.Version)
	b = binary.BigEndian.AppendUint64(b, uint64(micros(r.ExpireTime)))
	return append(b, r.Value...)
}

// decodeRecord copies the value.
func decodeRecord(kind queue.RecordKind, key string, b []byte) (queue.Record, error) {
	if len(b) < 17 || b[0] != formatVersion {
		return queue.Record{}, fmt.Errorf("record of %d bytes: %w", len(b), errCorrupt)
	}
	return queue.Record{
		Kind: kind, Key: key,
		Version:    binary.BigEndian.Uint64(b[1:]),
		ExpireTime: fromMicros(int64(binary.BigEndian.Uint64(b[9:]))),
		Value:      append([]byte{}, b[17:]...),
	}, nil
}

func keySlot(prefix byte, p slot) []byte {
	b := make([]byte, 0, 11)
	b = append(b, prefix, byte(p.lane), byte(p.class))
	return binary.BigEndian.AppendUint64(b, p.seq)
}

func keyRetry(p slot, at int64) []byte {
	b := make([]byte, 0, 19)
	b = append(b, prefixRetry, byte(p.lane), byte(p.class))
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	return binary.BigEndian.AppendUint64(b, p.seq)
}

func keyExpire(p slot, expire int64) []byte {
	b := make([]byte, 0, 19)
	b = append(b, prefixExpire, byte(p.lane))
	b = binary.BigEndian.AppendUint64(b, uint64(expire))
	b = append(b, byte(p.class))
	return binary.BigEndian.AppendUint64(b, p.seq)
}

func keyParked(p slot, since int64) []byte {
	b := make([]byte, 0, 19)
	b = append(b, prefixParked)
	b = binary.BigEndian.AppendUint64(b, uint64(since))
	b = append(b, byte(p.lane), byte(p.class))
	return binary.BigEndian.AppendUint64(b, p.seq)
}

// parkedPlace is the inverse of keyParked.
func decodeKeyParked(k []byte) (p slot, since int64, err error) {
	if len(k) != 19 {
		return p, 0, fmt.Errorf("parked key of %d bytes: %w", len(k), errCorrupt)
	}
	p = slot{reset.Lane(k[9]), reset.Class(k[10]), binary.BigEndian.Uint64(k[11:])}
	return p, int64(binary.BigEndian.Uint64(k[1:])), nil
}

func key16(prefix byte, id [16]byte) []byte {
	b := make([]byte, 0, 17)
	return append(append(b, prefix), id[:]...)
}

// keyOpen has no class for completions, which supersede each other in all of them.
func keyOpen(j *reset.Job) []byte {
	b := make([]byte, 0, 19)
	b = append(append(b, prefixOpen, byte(ordinalLane(j.Lane))), j.Key[:]...)
	if ordinalLane(j.Lane) != reset.LaneApply {
		b = append(b, byte(j.Class))
	}
	return b
}

func keyRecord(kind queue.RecordKind, key string) []byte {
	b := make([]byte, 0, 2+len(kind)+len(key))
	return append(append(append(append(b, prefixRecord), kind...), 0), key...)
}

func keyPassage(class reset.Class, upTo uint64) []byte {
	b := make([]byte, 0, 10)
	return binary.BigEndian.AppendUint64(append(b, prefixPassage, byte(class)), upTo)
}

// keyDrop schedules another key's removal for the hour that its time falls in.
func keyRetention(at int64, key []byte) []byte {
	b := make([]byte, 0, 5+len(key))
	b = binary.BigEndian.AppendUint32(append(b, prefixRetention), uint32(at/int64(time.Hour/time.Microsecond)))
	return append(b, key...)
}

// counters are persisted in each commit, so that nothing need be counted at open.
type counters struct {
	Enqueued, Ended, Bytes uint64
	Clock                  int64 // µs; the latest time used: time never goes back, not over a restart either
	Queues                 [laneCount][classCount]queueCounters
	Ordinals               [groupCount][classCount]ordinalCounters
}

type queueCounters struct {
	Last     uint64 // the last sequence given out
	Floor    uint64 // no job lies below it
	InLine   uint64 // waiting or leased
	Retrying uint64
	Parked   uint64
}

type ordinalCounters struct {
	Last           uint64 // the last ordinal given out
	Ended          uint64
	PassedSetAside uint64 // aside, and counted as passed
	Passed         uint64 // never falls
}

const counterFields = 4 + 5*laneCount*classCount + 4*groupCount*classCount

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

package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
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

// slot says where a job lies. It is unique among open jobs.
type slot struct {
	lane  reset.Lane
	class reset.Class
	seq   uint64
}

// jobRecord is a job and what the engine stores with it.
type jobRecord struct {
	job     reset.Job
	seq     uint64
	ordinal uint64 // place in the line as tickets count it; equals seq but for completions
	at      int64  // µs; retrying: not before; parked: since
	flags   byte
}

func (r *jobRecord) slot() slot       { return slot{r.job.Lane, r.job.Class, r.seq} }
func (r *jobRecord) isSetAside() bool { return r.flags&(flagRetrying|flagParked) != 0 }

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
	b = appendInt64(b, micros(j.AcceptTime))
	b = appendInt64(b, micros(j.ExpireTime))
	b = appendInt64(b, r.at)
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
	j.AcceptTime = fromMicros(int64At(b[24:]))
	j.ExpireTime = fromMicros(int64At(b[32:]))
	r.at = int64At(b[40:])
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

// appendInt64 appends the 8 bytes of v, which int64At reads.
func appendInt64(b []byte, v int64) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(v))
}

func int64At(b []byte) int64 {
	return int64(binary.BigEndian.Uint64(b))
}

func appendPlaceholder(b []byte, accept time.Time) []byte {
	return appendInt64(append(b, formatVersion, flagPlaceholder), micros(accept))
}

func isPlaceholder(b []byte) bool {
	return len(b) == placeholderBytes && b[0] == formatVersion && b[1]&flagPlaceholder != 0
}

// ticketRecord is the record of a ticket that is not a start's.
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
	return appendInt64(b, t.update)
}

func decodeTicket(b []byte) (t ticketRecord, err error) {
	if len(b) != ticketBytes || b[0] != formatVersion {
		return t, fmt.Errorf("ticket of %d bytes: %w", len(b), errCorrupt)
	}
	t.state, t.reason = reset.State(b[1]), reset.Reason(b[2])
	t.slot.lane, t.slot.class, t.flags = reset.Lane(b[3]), reset.Class(b[4]), b[5]
	t.slot.seq = binary.BigEndian.Uint64(b[6:])
	t.ordinal = binary.BigEndian.Uint64(b[14:])
	t.update = int64At(b[22:])
	return t, nil
}

// markRecord is an account's mark, with the answer for a repeat of the request that raised it.
type markRecord struct {
	mark    uint64
	expire  int64 // µs
	request reset.Key
	ref     reset.Ref
}

func appendMark(b []byte, m markRecord) []byte {
	b = append(b, formatVersion, byte(m.ref.Lane), byte(m.ref.Class))
	b = binary.BigEndian.AppendUint64(b, m.mark)
	b = appendInt64(b, m.expire)
	b = append(b, m.request[:]...)
	b = append(b, m.ref.ID[:]...)
	b = binary.BigEndian.AppendUint64(b, m.ref.Seq)
	return appendInt64(b, micros(m.ref.AcceptTime))
}

func decodeMark(b []byte) (m markRecord, err error) {
	if len(b) != markBytes || b[0] != formatVersion {
		return m, fmt.Errorf("mark of %d bytes: %w", len(b), errCorrupt)
	}
	m.ref.Lane, m.ref.Class = reset.Lane(b[1]), reset.Class(b[2])
	m.mark = binary.BigEndian.Uint64(b[3:])
	m.expire = int64At(b[11:])
	copy(m.request[:], b[19:])
	copy(m.ref.ID[:], b[35:])
	m.ref.Seq = binary.BigEndian.Uint64(b[51:])
	m.ref.AcceptTime = fromMicros(int64At(b[59:]))
	return m, nil
}

func appendRecord(b []byte, r queue.Record) []byte {
	b = append(b, formatVersion)
	b = binary.BigEndian.AppendUint64(b, r.Version)
	b = appendInt64(b, micros(r.ExpireTime))
	return append(b, r.Value...)
}

// decodeRecord decodes a record; it copies the value.
func decodeRecord(kind queue.RecordKind, key string, b []byte) (queue.Record, error) {
	if len(b) < 17 || b[0] != formatVersion {
		return queue.Record{}, fmt.Errorf("record of %d bytes: %w", len(b), errCorrupt)
	}
	return queue.Record{
		Kind: kind, Key: key,
		Version:    binary.BigEndian.Uint64(b[1:]),
		ExpireTime: fromMicros(int64At(b[9:])),
		Value:      append([]byte{}, b[17:]...),
	}, nil
}

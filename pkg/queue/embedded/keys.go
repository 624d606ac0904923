package embedded

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// The layout on disk. Every key begins with one of these bytes. Numbers are big-endian; lane and class are one byte each;
// ids and keys are 16 bytes; times are µs since 1970. There is no partition byte: one machine needs none.
//
//	j lane class seq          job, or the place of a coalesced start: waiting or leased
//	a lane class seq          job that is set aside: retrying or parked
//	r lane class at seq       retries by their time                          accept time (8)
//	p since lane class seq    parked, oldest first                           cause
//	i job-id                  parked, by id                                  its p key
//	e lane at class seq       jobs that expire, by when                      (empty)
//	k lane key class          who holds a key; hash uses apply's, no class   open, below
//	m account                 mark                                           below
//	t ticket-id               ticket that is not a start's                   below
//	s class up-to             passage of the start lane                      from (8) done time (8)
//	d kind 0 key              record          version 1 | version (8) | expires (8) | value
//	x hour key                what may be deleted after the hour: t, m, d    (empty)
//	c                         the counters, as uvarints in the order of the struct
//
//	job    0         1       2      3       4          8         16         24       32        40
//	       format 1 | flags | lane | class | attempts | ordinal | sequence | accept | expire | at |
//	       48   64       80    96        112              116
//	       id | ticket | key | account | payload length | payload | trace (25, with flag 32)
//	place  format 1 | flags | accept
//	ticket format 1 | state | reason | lane | class | flags | seq (8) | ordinal (8) | update (8)
//	mark   format 1 | lane | class | mark (8) | expire (8) | request (16) | ticket (16) | ordinal (8) | accept (8)
//	open   format 1 | class | seq (8)                          start: joined unless that place is parked
//	       format 1 | class | seq (8) | ticket (16)            mail: joined unless that place is leased or parked
//	       format 1 | class | seq (8) | job without payload    hash, apply: enough to end it superseded
//	flags  1 place, 2 unique, 4 passed, 8 retrying, 16 parked, 32 traced
//
// A job whose call is traced has the call's trace behind its payload. Versions that know no traces write the flag clear,
// and this version reads their records. They in turn take a traced record for a damaged one, so before going back to such a
// version the traced jobs must have ended. The 25 bytes are not in Stats.Bytes, because an open key, which tells the job's
// size, has no trace.
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

func keySlot(prefix byte, p slot) []byte {
	b := make([]byte, 0, 11)
	b = append(b, prefix, byte(p.lane), byte(p.class))
	return binary.BigEndian.AppendUint64(b, p.seq)
}

func keyRetry(p slot, at int64) []byte {
	b := make([]byte, 0, 19)
	b = append(b, prefixRetry, byte(p.lane), byte(p.class))
	b = appendInt64(b, at)
	return binary.BigEndian.AppendUint64(b, p.seq)
}

func keyExpire(p slot, expire int64) []byte {
	b := make([]byte, 0, 19)
	b = append(b, prefixExpire, byte(p.lane))
	b = appendInt64(b, expire)
	b = append(b, byte(p.class))
	return binary.BigEndian.AppendUint64(b, p.seq)
}

func keyParked(p slot, since int64) []byte {
	b := make([]byte, 0, 19)
	b = append(b, prefixParked)
	b = appendInt64(b, since)
	b = append(b, byte(p.lane), byte(p.class))
	return binary.BigEndian.AppendUint64(b, p.seq)
}

// decodeKeyParked is the inverse of keyParked.
func decodeKeyParked(k []byte) (p slot, since int64, err error) {
	if len(k) != 19 {
		return p, 0, fmt.Errorf("parked key of %d bytes: %w", len(k), errCorrupt)
	}
	p = slot{reset.Lane(k[9]), reset.Class(k[10]), binary.BigEndian.Uint64(k[11:])}
	return p, int64At(k[1:]), nil
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

// keyRetention is the index entry that has the sweep look at another key once the hour of at (µs) is over.
func keyRetention(at int64, key []byte) []byte {
	b := make([]byte, 0, 5+len(key))
	b = binary.BigEndian.AppendUint32(append(b, prefixRetention), uint32(at/int64(time.Hour/time.Microsecond)))
	return append(b, key...)
}

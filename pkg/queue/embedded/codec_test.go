package embedded

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

func genID(t *rapid.T, name string) (id [16]byte) {
	copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, name))
	return id
}

func TestJobRecordRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		at := func(name string) time.Time { return fromMicros(rapid.Int64Range(0, 1<<52).Draw(t, name)) }
		r := jobRecord{
			seq: rapid.Uint64().Draw(t, "seq"), ordinal: rapid.Uint64().Draw(t, "ord"), at: rapid.Int64().Draw(t, "at"),
			job: reset.Job{
				ID: genID(t, "id"), Ticket: genID(t, "ticket"), Key: genID(t, "key"), Account: genID(t, "account"),
				Lane:  rapid.SampledFrom([]reset.Lane{reset.LaneHash, reset.LaneApply}).Draw(t, "lane"),
				Class: rapid.SampledFrom(reset.Classes()).Draw(t, "class"), Unique: rapid.Bool().Draw(t, "unique"),
				Sequence: rapid.Uint64().Draw(t, "sequence"), Attempts: rapid.Uint32().Draw(t, "attempts"),
				AcceptTime: at("accept"), ExpireTime: at("expire"),
				Trace:   rapid.SampledFrom([]reset.Trace{{}, {TraceID: genID(t, "trace"), SpanID: [8]byte{1}, Flags: 1}}).Draw(t, "traced"),
				Payload: rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "payload"),
			},
		}
		if r.job.Unique {
			r.flags = flagUnique
		}
		got, size, err := decodeJob(appendJob(nil, &r, true), r.seq)
		if err != nil || !reflect.DeepEqual(got, r) || size != uint64(headerBytes+len(r.job.Payload)) {
			t.Fatalf("%+v, %d, %v; want %+v", got, size, err, r)
		}
		got, size2, err := decodeOpen(appendOpen(&r), r.job.Lane)
		want := r
		want.job.Payload, want.job.Trace = nil, reset.Trace{}
		if err != nil || !reflect.DeepEqual(got, want) || size2 != size {
			t.Fatalf("%+v, %d, %v; want %+v", got, size2, err, want)
		}
	})
}

func TestSmallRecordsRoundTrip(t *testing.T) {
	t.Parallel()
	ref := reset.Ref{ID: reset.NewID(), Lane: reset.LaneHash, Class: 1, Seq: 9, AcceptTime: fromMicros(77)}
	m := markRecord{mark: 5, expire: 6, request: reset.Key{7}, ref: ref}
	if got, err := decodeMark(appendMark(nil, m)); err != nil || got != m {
		t.Errorf("%+v, %v", got, err)
	}
	tk := ticketRecord{state: reset.StateFailed, reason: reset.ReasonExpired, slot: slot{reset.LaneApply, 2, 3}, ordinal: 4, flags: flagParked, update: 5}
	if got, err := decodeTicket(appendTicket(nil, tk)); err != nil || got != tk {
		t.Errorf("%+v, %v", got, err)
	}
	r := queue.Record{Kind: queue.RecordPace, Key: "k", Value: []byte("v"), Version: 3, ExpireTime: fromMicros(8)}
	if got, err := decodeRecord(r.Kind, r.Key, appendRecord(nil, r)); err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("%+v, %v", got, err)
	}
	var c, d counters
	n := 0
	c.each(func(u *uint64) { n++; *u = uint64(n * n) })
	if err := d.decode(c.append(nil)); err != nil || d != c {
		t.Errorf("%+v, %v", d, err)
	}
	if n != counterFields {
		t.Errorf("%d fields, want %d", n, counterFields)
	}
}

// A record as versions that knew no traces wrote it (here without traces the format is the same, byte for byte), and a
// traced one cut short.
func TestJobRecordsWithAndWithoutATrace(t *testing.T) {
	t.Parallel()
	r := jobRecord{seq: 1, ordinal: 2, job: reset.Job{ID: reset.ID{1}, Lane: reset.LaneApply, Payload: []byte("payload")}}
	old := appendJob(nil, &r, true)
	if want := headerBytes + len(r.job.Payload); len(old) != want || old[1] != 0 {
		t.Errorf("an untraced record has %d bytes and flags %b, want %d and none", len(old), old[1], want)
	}
	r.job.Trace = reset.Trace{TraceID: [16]byte{7}, SpanID: [8]byte{8}, Flags: 1}
	traced := appendJob(nil, &r, true)
	if len(traced) != len(old)+reset.TraceBytes {
		t.Errorf("a traced record has %d bytes, an untraced one %d", len(traced), len(old))
	}
	for _, cut := range []int{1, reset.TraceBytes, len(r.job.Payload), len(r.job.Payload) + reset.TraceBytes} {
		if _, _, err := decodeJob(traced[:len(traced)-cut], 1); err == nil {
			t.Errorf("a traced record without its last %d bytes is read", cut)
		}
	}
}

func FuzzDecode(f *testing.F) {
	r := jobRecord{seq: 1, ordinal: 2, job: reset.Job{ID: reset.ID{1}, Lane: reset.LaneApply, Payload: []byte("p")}}
	f.Add(appendJob(nil, &r, true))
	f.Add(appendOpen(&r))
	r.job.Trace = reset.Trace{TraceID: [16]byte{1}, SpanID: [8]byte{2}, Flags: 1}
	f.Add(appendJob(nil, &r, true))
	f.Add(appendTicket(nil, ticketRecord{state: 1}))
	f.Add(appendMark(nil, markRecord{mark: 1}))
	f.Add(appendRecord(nil, queue.Record{Version: 1}))
	f.Add(new(counters).append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, size, err := decodeJob(b, 1); err == nil {
			if size < headerBytes || !isValidLaneClass(r.job.Lane, r.job.Class) {
				t.Fatalf("decoded %+v of %d bytes", r, size)
			}
			if len(r.job.Payload) > 0 {
				// What is read is written back the same, but for flags that no version has set.
				if again, _, err := decodeJob(appendJob(nil, &r, true), 1); err != nil || !bytes.Equal(again.job.Payload, r.job.Payload) || again.job.ID != r.job.ID {
					t.Fatalf("%+v, %v", again, err)
				}
			}
		}
		for _, lane := range reset.Lanes() {
			_, _, _ = decodeOpen(b, lane)
		}
		_, _ = decodeTicket(b)
		_, _ = decodeMark(b)
		_, _ = decodeRecord("", "", b)
		_, _, _ = decodeKeyParked(b)
		_ = new(counters).decode(b)
	})
}

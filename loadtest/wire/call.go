package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2/hpack"
)

// Method is what Call calls. Make it once with NewMethod and use it for all calls.
type Method struct{ path string }

// NewMethod takes a path like "/pkg.Service/Method".
func NewMethod(path string) (*Method, error) {
	service, name, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if !ok || path[0] != '/' || service == "" || name == "" || strings.ContainsAny(path, " \r\n") || len(path) > maxHeader {
		return nil, fmt.Errorf("wire: %q is no method: it must look like /pkg.Service/Method", path)
	}
	return &Method{path: path}, nil
}

// headerBlock encodes the headers of a connection's calls. All but grpc-timeout are the same for all calls of a method,
// so from its second call on they are indices into the compression table; those bytes are kept, because they stay right
// until something is added to the table, that is, until a new method is called.
type headerBlock struct {
	scheme, authority, userAgent string
	encoder                      *hpack.Encoder
	buf                          bytes.Buffer
	indexed                      map[*Method][]byte
}

// fieldCount is the number of fields that write has; timeoutName is the representation "literal, never indexed, new name" of
// grpc-timeout (RFC 7541, 6.2.3): values that differ with each call would wash the others out of the table.
const (
	fieldCount  = 7
	timeoutName = "\x10\x0cgrpc-timeout"
)

func newHeaderBlock(scheme, authority, userAgent string) *headerBlock {
	h := &headerBlock{scheme: scheme, authority: authority, userAgent: userAgent, indexed: map[*Method][]byte{}}
	h.encoder = hpack.NewEncoder(&h.buf)
	return h
}

// append adds the header block of a call to dst.
func (h *headerBlock) append(dst []byte, m *Method, timeout time.Duration) []byte {
	if block, ok := h.indexed[m]; ok {
		dst = append(dst, block...)
	} else {
		dst = append(dst, h.write(m)...)
	}
	dst = append(dst, timeoutName...)
	at := len(dst)
	dst = appendTimeout(append(dst, 0), timeout)
	dst[at] = byte(len(dst) - at - 1) // at most 9 bytes, not Huffman coded
	return dst
}

func (h *headerBlock) write(m *Method) []byte {
	h.buf.Reset()
	for _, f := range [fieldCount]hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: h.scheme}, {Name: ":path", Value: m.path},
		{Name: ":authority", Value: h.authority}, {Name: "content-type", Value: "application/grpc"},
		{Name: "user-agent", Value: h.userAgent}, {Name: "te", Value: "trailers"},
	} {
		_ = h.encoder.WriteField(f) // into memory
	}
	block := h.buf.Bytes()
	stable := len(block) == fieldCount
	for _, b := range block {
		stable = stable && b >= 0x80 && b != 0xff // an index in one byte (RFC 7541, 6.1)
	}
	if stable {
		h.indexed[m] = bytes.Clone(block)
	} else {
		clear(h.indexed) // the table changed, and with it the indices
	}
	return block
}

func (h *headerBlock) setTableSize(n uint32) {
	h.encoder.SetMaxDynamicTableSizeLimit(n)
	clear(h.indexed)
}

// appendTimeout writes d as gRPC wants it: at most eight digits and a unit, rounded up.
func appendTimeout(dst []byte, d time.Duration) []byte {
	const most = 99_999_999
	for _, u := range [...]struct {
		unit time.Duration
		name byte
	}{{time.Microsecond, 'u'}, {time.Millisecond, 'm'}, {time.Second, 'S'}, {time.Minute, 'M'}} {
		if n := (d + u.unit - 1) / u.unit; n <= most {
			return append(strconv.AppendInt(dst, int64(max(n, 1)), 10), u.name)
		}
	}
	return append(strconv.AppendInt(dst, int64(d/time.Hour), 10), 'H')
}

// call is a call from Call to its Done. It belongs to one connection, under whose lock all of it is, or to the client's line, or
// to the one goroutine that took it out of there.
type call struct {
	reply    Reply
	method   *Method
	done     Done
	deadline time.Duration // since the client's start
	retried  bool          // refused once
	message  []byte        // with gRPC's prefix
	body     []byte        // of the response, with gRPC's prefix

	id     uint32 // of its stream; 0 before it has one
	sent   int    // of message
	window int64  // what the server lets us send on the stream
	unread int64  // what was received on the stream since the last update of its window
	headed bool   // response headers are there

	list       *list // in which it is
	prev, next *call
	tick       int64 // of the wheel; 0 when it is not in it
	wheelPrev  *call
	wheelNext  *call
}

const (
	prefix = 5 // gRPC's: compressed or not, and the length in four bytes
	// keepBytes is the largest buffer that goes back into the pool with its call.
	keepBytes = 16 << 10
)

func (k *call) setMessage(m []byte) {
	k.message = append(k.message[:0], 0)
	k.message = binary.BigEndian.AppendUint32(k.message, uint32(len(m))) // Call bounds it
	k.message = append(k.message, m...)
}

// rewind makes the call new for another connection.
func (k *call) rewind() {
	k.id, k.sent, k.window, k.unread, k.headed, k.body = 0, 0, 0, 0, false, k.body[:0]
}

// recycle makes the call ready for the pool: its buffers stay if they are small.
func (k *call) recycle() {
	message, body := k.message[:0], k.body[:0]
	if cap(message) > keepBytes {
		message = nil
	}
	if cap(body) > keepBytes {
		body = nil
	}
	*k = call{message: message, body: body}
}

// list is a line of calls; a call is in one at most.
type list struct{ first, last *call }

func (l *list) push(k *call) {
	k.list, k.prev, k.next = l, l.last, nil
	if l.last == nil {
		l.first = k
	} else {
		l.last.next = k
	}
	l.last = k
}

// pushFront is for calls that have a stream: those that have none wait for such to end.
func (l *list) pushFront(k *call) {
	k.list, k.prev, k.next = l, nil, l.first
	if l.first == nil {
		l.last = k
	} else {
		l.first.prev = k
	}
	l.first = k
}

func (l *list) remove(k *call) {
	if k.prev == nil {
		l.first = k.next
	} else {
		k.prev.next = k.next
	}
	if k.next == nil {
		l.last = k.prev
	} else {
		k.next.prev = k.prev
	}
	k.list, k.prev, k.next = nil, nil, nil
}

// wheel keeps the deadlines of a connection's calls: a hashed timing wheel with links in the calls, so that it needs no memory of
// its own and a call that ends leaves it at once.
type wheel struct {
	slots [wheelSlots]*call
	last  int64 // tick up to which deadlines were seen to
}

// One turn is four seconds, a usual deadline; calls with later ones are looked at once a turn.
const (
	tickTime   = 4 * time.Millisecond
	wheelSlots = 1024
)

func (w *wheel) add(k *call) {
	k.tick = max(int64(k.deadline/tickTime), w.last) + 1 // never early
	slot := &w.slots[k.tick%wheelSlots]
	k.wheelPrev, k.wheelNext = nil, *slot
	if *slot != nil {
		(*slot).wheelPrev = k
	}
	*slot = k
}

func (w *wheel) remove(k *call) {
	if k.wheelPrev == nil {
		w.slots[k.tick%wheelSlots] = k.wheelNext
	} else {
		k.wheelPrev.wheelNext = k.wheelNext
	}
	if k.wheelNext != nil {
		k.wheelNext.wheelPrev = k.wheelPrev
	}
	k.tick, k.wheelPrev, k.wheelNext = 0, nil, nil
}

// expire removes the calls whose deadlines have passed and adds them to dst.
func (w *wheel) expire(now time.Duration, dst []*call) []*call {
	tick := int64(now / tickTime)
	for t := max(w.last+1, tick-wheelSlots+1); t <= tick; t++ {
		for k := w.slots[t%wheelSlots]; k != nil; {
			next := k.wheelNext
			if k.tick <= tick {
				w.remove(k)
				dst = append(dst, k)
			}
			k = next
		}
	}
	w.last = max(w.last, tick)
	return dst
}

package wire

import (
	"bufio"
	"errors"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
)

const (
	// outLimit is where calls begin to wait instead of being written into out: a server that reads no more is not to be
	// answered with memory.
	outLimit = 256 << 10
	readSize = 64 << 10
	// frameSize is what both sides may send before SETTINGS say more, which ours do not (RFC 9113, 4.2).
	frameSize = 16 << 10
	// maxStreamID is the last id that a client may use (RFC 9113, 5.1.1).
	maxStreamID = math.MaxInt32
	noLimit     = math.MaxInt32
)

// conn is a connection. Calls are written into out as frames by whoever brings them, and one goroutine, write, sends out what
// has come together; another, read, takes the answers.
type conn struct {
	client  *Client
	slot    *slot
	nc      net.Conn
	raw     net.Conn      // under TLS; closing it does not wait for the peer
	retired chan struct{} // closed when it takes no more calls
	heard   atomic.Bool   // something was read since the last tick

	mu       sync.Mutex
	writable sync.Cond // on mu: out is not empty, or closed
	idle     bool      // write waits
	framer   *http2.Framer
	out      []byte // what is to be written next
	headers  *headerBlock
	block    []byte // scratch of start

	streams   map[uint32]*call
	deadlines wheel
	// waiting are calls that could not be started or sent to the end yet: the server's limit of streams, the connection's window,
	// outLimit. Bounded by MaxInFlight.
	waiting    list
	nextID     uint32
	lastID     uint32 // that may be used
	maxStreams int
	window     int64 // what the server lets us send on the connection
	newWindow  int64 // and on a new stream
	maxFrame   int
	draining   bool // takes no new calls
	closed     bool
	err        error // why

	// asked: something was written since the server was heard; askedAt: the first of it.
	asked            bool
	askedAt          time.Duration
	pinged           bool
	pingedAt, lastAt time.Duration

	// What follows is read's own.
	decoder *hpack.Decoder
	head    head
	fields  struct { // headers that CONTINUATION goes on with
		id  uint32
		end bool
		n   int
	}
	unread int64 // since the last update of the connection's window
}

// out as an io.Writer for the framer.
type outWriter struct{ c *conn }

func (w outWriter) Write(p []byte) (int, error) {
	w.c.out = append(w.c.out, p...)
	return len(p), nil
}

func newConn(s *slot, raw, nc net.Conn, headers *headerBlock) *conn {
	c := &conn{
		client: s.client, slot: s, raw: raw, nc: nc, retired: make(chan struct{}), headers: headers, streams: map[uint32]*call{},
		nextID: 1, lastID: s.client.lastStreamID, maxStreams: noLimit, window: firstWindow, newWindow: firstWindow, maxFrame: frameSize,
	}
	c.writable.L = &c.mu
	c.deadlines.last = int64(s.client.now() / tickTime)
	c.framer = http2.NewFramer(outWriter{c}, bufio.NewReaderSize(nc, readSize))
	c.framer.SetReuseFrames()
	c.framer.SetMaxReadFrameSize(frameSize)
	c.decoder = hpack.NewDecoder(4096, c.head.field) // the table's size is the protocol's default
	c.decoder.SetMaxStringLength(maxHeaderList)
	return c
}

// add takes a call that has no stream. False: the connection takes no more.
func (c *conn) add(k *call, now time.Duration) bool {
	c.mu.Lock()
	if c.draining || c.closed {
		c.mu.Unlock()
		return false
	}
	c.deadlines.add(k)
	if c.waiting.first != nil || !c.startable() || !c.start(k, now) {
		c.waiting.push(k)
	}
	c.unlock()
	return true
}

// unlock wakes write, and sees to what may not be done under the lock.
func (c *conn) unlock() {
	if c.idle && len(c.out) > 0 {
		c.idle = false
		c.writable.Signal()
	}
	spent := c.nextID > c.lastID && !c.draining
	var moved list
	if spent {
		c.draining = true
		moved = c.unstarted()
	}
	if c.draining && len(c.streams) == 0 && !c.closed {
		c.close(errDrained)
	}
	c.mu.Unlock()
	if spent {
		c.client.withdraw(c)
		c.move(moved)
	}
}

var errDrained = errors.New("all calls have ended")

// unstarted takes the calls that have no stream out of the connection.
func (c *conn) unstarted() (moved list) {
	for k := c.waiting.first; k != nil; {
		next := k.next
		if k.id == 0 {
			c.waiting.remove(k)
			c.deadlines.remove(k)
			moved.push(k)
		}
		k = next
	}
	return moved
}

// move gives calls to other connections.
func (c *conn) move(calls list) {
	now := c.client.now()
	for k := calls.first; k != nil; {
		next := k.next
		k.list, k.prev, k.next = nil, nil, nil
		c.client.dispatch(k, now)
		k = next
	}
}

func (c *conn) startable() bool {
	return len(c.streams) < c.maxStreams && len(c.out) < outLimit && c.nextID <= c.lastID && !c.draining
}

// start gives the call its stream and sends what it can. False: the rest waits for the connection.
func (c *conn) start(k *call, now time.Duration) bool {
	k.id, k.window = c.nextID, c.newWindow
	c.nextID += 2
	c.streams[k.id] = k
	if !c.asked {
		c.asked, c.askedAt = true, now
	}
	c.block = c.headers.append(c.block[:0], k.method, max(k.deadline-now, 0))
	_ = c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: k.id, BlockFragment: c.block, EndHeaders: true}) // into memory
	return c.send(k)
}

// send sends what it can of a message. False: the rest waits for the connection; true: all is sent, or it waits for
// the stream's window alone.
func (c *conn) send(k *call) bool {
	for {
		left := len(k.message) - k.sent
		n := min(int64(left), int64(c.maxFrame), k.window, c.window)
		if n <= 0 {
			return k.window <= 0
		}
		if len(c.out) >= outLimit {
			return false
		}
		last := n == int64(left)
		_ = c.framer.WriteData(k.id, last, k.message[k.sent:k.sent+int(n)]) // into memory
		k.sent += int(n)
		k.window -= n
		c.window -= n
		if last {
			return true
		}
	}
}

// pump goes on with the calls that wait, in their order.
func (c *conn) pump() {
	if c.waiting.first == nil || c.closed {
		return
	}
	now := c.client.now()
	for k := c.waiting.first; k != nil; k = c.waiting.first {
		if k.id == 0 {
			if !c.startable() || !c.start(k, now) {
				return
			}
		} else if !c.send(k) {
			return
		}
		c.waiting.remove(k)
	}
}

// stalled: the call waits for its stream's window, which only an update of it ends.
func (k *call) stalled() bool { return k.list == nil && k.sent < len(k.message) }

// remove takes a call out of the connection; reset tells the server, if it may still work on it.
func (c *conn) remove(k *call, reset bool) {
	if k.tick != 0 {
		c.deadlines.remove(k)
	}
	if k.list != nil {
		c.waiting.remove(k)
	}
	if k.id == 0 {
		return
	}
	delete(c.streams, k.id)
	if reset || k.sent < len(k.message) {
		_ = c.framer.WriteRSTStream(k.id, http2.ErrCodeCancel) // into memory
	}
	c.pump()
}

// write sends out what comes together.
func (c *conn) write() {
	var buf []byte
	for {
		c.mu.Lock()
		for len(c.out) == 0 && !c.closed {
			c.idle = true
			c.writable.Wait()
		}
		c.idle = false
		if c.closed {
			c.mu.Unlock()
			return
		}
		if cap(buf) > 2*outLimit {
			buf = nil
		}
		buf, c.out = c.out, buf[:0]
		c.pump()
		c.unlock()
		if _, err := c.nc.Write(buf); err != nil {
			c.kill(err)
			return
		}
	}
}

// kill ends the connection; read does the rest.
func (c *conn) kill(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.close(err)
}

// close is kill under the lock.
func (c *conn) close(err error) {
	if c.closed {
		return
	}
	c.closed, c.draining, c.err = true, true, err
	_ = c.raw.Close() // nothing is lost that counts
	c.writable.Signal()
}

// end takes the connection's calls to their end.
func (c *conn) end(err error) {
	c.kill(err) // keeps the first reason
	c.client.withdraw(c)
	c.mu.Lock()
	err = c.err
	moved := c.unstarted()
	lost := make([]*call, 0, len(c.streams))
	for _, k := range c.streams {
		c.deadlines.remove(k)
		if k.list != nil {
			c.waiting.remove(k)
		}
		lost = append(lost, k)
	}
	clear(c.streams)
	c.mu.Unlock()
	c.client.mu.Lock()
	delete(c.client.conns, c)
	ended := c.client.state == stateEnded
	c.client.mu.Unlock()
	code := codes.Unavailable
	if ended {
		code = codes.Canceled
	} else if !errors.Is(err, errDrained) {
		c.client.log.Warn("connection lost", "target", c.slot.target, "error", err)
	}
	for _, k := range lost {
		c.client.fail(k, code, err.Error())
	}
	c.move(moved)
}

// tick takes the calls whose deadlines have passed out of the connection, and looks whether the server is still there.
func (c *conn) tick(now time.Duration, expired []*call) []*call {
	c.mu.Lock()
	defer c.unlock()
	first := len(expired)
	expired = c.deadlines.expire(now, expired)
	for _, k := range expired[first:] {
		c.remove(k, true)
	}
	if c.heard.Swap(false) {
		c.asked, c.pinged = false, false
		if len(c.streams) > 0 {
			c.asked, c.askedAt = true, now
		}
	}
	cfg := &c.client.cfg
	switch {
	case c.pinged && now-c.pingedAt >= cfg.PingTimeout:
		c.close(errSilent)
	case c.asked && !c.pinged && now-c.askedAt >= cfg.Silence && (c.lastAt == 0 || now-c.lastAt >= cfg.PingInterval):
		c.pinged, c.pingedAt, c.lastAt = true, now, now
		_ = c.framer.WritePing(false, [8]byte{}) // into memory
	}
	return expired
}

var errSilent = errors.New("the server does not answer a ping")

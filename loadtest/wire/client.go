package wire

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/surgegate/surgegate/pkg/clock"
)

// Client makes unary gRPC calls. Make it with New; calls made before Run wait for it, whatever their deadlines.
type Client struct {
	cfg   Config
	clock clock.Clock
	log   *slog.Logger
	start time.Time // deadlines are counted from here
	// lastStreamID is maxStreamID but in tests, which cannot make two billion calls.
	lastStreamID uint32
	pool         sync.Pool // of *call

	inFlight atomic.Int64
	next     atomic.Uint64           // round robin
	ready    atomic.Pointer[[]*conn] // that take calls
	ticking  atomic.Bool             // Run looks after deadlines
	kick     chan struct{}           // holds one: that Run must begin to

	// goroutines are those of slots and connections; Run waits for them.
	goroutines sync.WaitGroup

	mu      sync.Mutex // never taken under a connection's
	state   state
	slots   []*slot
	conns   map[*conn]struct{} // with those that drain
	parked  list               // calls while a connection is being made; bounded by MaxInFlight
	changed chan struct{}      // closed and made anew when ready changes
}

type state int

const (
	stateNew state = iota
	stateRunning
	stateEnded
)

// New returns a Client.
func New(cfg Config, deps Deps) (*Client, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Clock == nil {
		deps.Clock = clock.System{}
	}
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Client{
		cfg: cfg, clock: deps.Clock, log: deps.Logger, start: deps.Clock.Now(), lastStreamID: maxStreamID, kick: make(chan struct{}, 1),
		conns: map[*conn]struct{}{}, changed: make(chan struct{}),
	}
	c.pool.New = func() any { return &call{} }
	c.ready.Store(&[]*conn{})
	for range cfg.Connections { // one to each target, then the second to each: round robin spreads over targets first
		for _, target := range cfg.Targets {
			c.slots = append(c.slots, &slot{client: c, target: target, connecting: true})
		}
	}
	return c, nil
}

// Run connects and keeps connected until ctx ends. All goroutines are its own and are gone when it returns, and calls that have
// no reply by then get CANCELED. It may be called once.
func (c *Client) Run(ctx context.Context) error {
	c.mu.Lock()
	if c.state != stateNew {
		c.mu.Unlock()
		return errors.New("wire: Run was called twice")
	}
	c.state = stateRunning
	c.mu.Unlock()
	for _, s := range c.slots {
		c.goroutines.Go(func() { s.keep(ctx) })
	}
	c.tick(ctx)
	c.mu.Lock()
	c.state = stateEnded
	for conn := range c.conns {
		conn.kill(errEnded)
	}
	c.mu.Unlock()
	c.goroutines.Wait()
	c.failParked(codes.Canceled, errEnded.Error())
	return nil
}

var errEnded = errors.New("the client was stopped")

// tick sees to deadlines and silent connections while calls are in flight.
func (c *Client) tick(ctx context.Context) {
	timer := c.clock.NewTimer(tickTime)
	defer timer.Stop()
	var conns []*conn // both are reused
	var expired []*call
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.kick:
			timer.Reset(tickTime)
			continue
		case <-timer.C():
		}
		now := c.now()
		c.mu.Lock()
		for k := c.parked.first; k != nil; {
			next := k.next
			if k.deadline <= now {
				c.parked.remove(k)
				expired = append(expired, k)
			}
			k = next
		}
		conns = slices.AppendSeq(conns[:0], maps.Keys(c.conns))
		c.mu.Unlock()
		for _, conn := range conns {
			expired = conn.tick(now, expired)
		}
		for i, k := range expired {
			c.fail(k, codes.DeadlineExceeded, "deadline passed")
			expired[i] = nil
		}
		expired = expired[:0]
		if c.inFlight.Load() == 0 {
			c.ticking.Store(false)
			if c.inFlight.Load() == 0 || !c.ticking.CompareAndSwap(false, true) {
				continue // the next call kicks
			}
		}
		timer.Reset(tickTime)
	}
}

func (c *Client) now() time.Duration { return c.clock.Now().Sub(c.start) }

// InFlight is how many calls have no reply yet.
func (c *Client) InFlight() int { return int(c.inFlight.Load()) }

// WaitReady returns when all connections are up, or with ctx's error.
func (c *Client) WaitReady(ctx context.Context) error {
	for {
		c.mu.Lock()
		changed := c.changed
		c.mu.Unlock()
		up := len(*c.ready.Load())
		if up == len(c.slots) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wire: %d of %d connections are up: %w", up, len(c.slots), ctx.Err())
		}
	}
}

// Call calls m with a marshalled message, which it copies. deadline counts from now; done gets the reply. Call never
// blocks and starts no goroutine. It may be called from anywhere, also from a Done.
func (c *Client) Call(m *Method, message []byte, deadline time.Duration, done Done) {
	now := c.clock.Now()
	k := c.pool.Get().(*call) // nothing else is in the pool
	k.reply.SentAt, k.method, k.done = now, m, done
	k.deadline = now.Sub(c.start) + deadline
	inFlight := c.inFlight.Add(1)
	switch {
	case inFlight > int64(c.cfg.MaxInFlight):
		c.fail(k, codes.ResourceExhausted, "more than MaxInFlight calls")
		return
	case len(message) > math.MaxInt32:
		c.fail(k, codes.ResourceExhausted, "message over 2 GiB")
		return
	case deadline <= 0:
		c.fail(k, codes.DeadlineExceeded, "deadline passed")
		return
	}
	k.setMessage(message)
	if !c.ticking.Load() && c.ticking.CompareAndSwap(false, true) {
		c.kick <- struct{}{} // has room: ticking is set once for each receive
	}
	c.dispatch(k, k.deadline-deadline)
}

// dispatch gives a call that has no stream to a connection, or parks it while one is being made.
func (c *Client) dispatch(k *call, now time.Duration) {
	const tries = 8 // connections that end just as they are chosen
	for range tries {
		ready := *c.ready.Load()
		if n := uint64(len(ready)); n > 0 {
			first := c.next.Add(1)
			for i := range n {
				conn := ready[(first+i)%n]
				if conn.add(k, now) {
					return
				}
				c.withdraw(conn) // whoever ended it may not have come to that yet, and we could try in vain until then
			}
		}
		if c.park(k) {
			return
		}
	}
	c.fail(k, codes.Unavailable, "no connection")
}

// park puts the call into the line for the next connection; or fails it when none is being made. False: try again.
func (c *Client) park(k *call) bool {
	c.mu.Lock()
	if len(*c.ready.Load()) > 0 {
		c.mu.Unlock()
		return false
	}
	if c.state != stateEnded && c.connecting() {
		c.parked.push(k)
		c.mu.Unlock()
		return true
	}
	ended := c.state == stateEnded
	c.mu.Unlock()
	if ended {
		c.fail(k, codes.Canceled, errEnded.Error())
	} else {
		c.fail(k, codes.Unavailable, "no connection")
	}
	return true
}

func (c *Client) connecting() bool {
	for _, s := range c.slots {
		if s.connecting {
			return true
		}
	}
	return false
}

// publish makes a connection take calls, those that are parked first.
func (c *Client) publish(s *slot, conn *conn) {
	c.mu.Lock()
	s.conn, s.connecting = conn, false
	c.conns[conn] = struct{}{}
	if c.state == stateEnded {
		conn.kill(errEnded)
	}
	c.rebuild()
	parked := c.parked.first
	c.parked = list{}
	c.mu.Unlock()
	now := c.now()
	for parked != nil {
		k := parked
		parked = k.next
		k.list, k.prev, k.next = nil, nil, nil
		c.dispatch(k, now)
	}
}

// withdraw makes a connection take no more calls. A new one is on its way.
func (c *Client) withdraw(conn *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn.slot.conn != conn {
		return
	}
	conn.slot.conn, conn.slot.connecting = nil, true
	c.rebuild()
	close(conn.retired)
}

// failed says that the slot could not connect: calls that wait for it alone fail.
func (c *Client) failed(s *slot, err error) {
	c.mu.Lock()
	s.connecting = false
	fail := len(*c.ready.Load()) == 0 && !c.connecting()
	c.mu.Unlock()
	if fail {
		c.failParked(codes.Unavailable, err.Error())
	}
}

func (c *Client) failParked(code codes.Code, text string) {
	c.mu.Lock()
	parked := c.parked.first
	c.parked = list{}
	c.mu.Unlock()
	for parked != nil {
		k := parked
		parked = k.next
		k.list, k.prev, k.next = nil, nil, nil
		c.fail(k, code, text)
	}
}

// rebuild is called under mu.
func (c *Client) rebuild() {
	ready := make([]*conn, 0, len(c.slots))
	for _, s := range c.slots {
		if s.conn != nil {
			ready = append(ready, s.conn)
		}
	}
	c.ready.Store(&ready)
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *Client) fail(k *call, code codes.Code, text string) {
	k.reply.fail(code, text)
	c.finish(k)
}

// finish tells the caller. Nothing else knows the call by now.
func (c *Client) finish(k *call) {
	k.reply.EndAt = c.clock.Now()
	c.inFlight.Add(-1)
	k.done.Done(&k.reply)
	k.recycle()
	c.pool.Put(k)
}

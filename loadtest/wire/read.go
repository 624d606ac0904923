package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
)

// read takes the server's frames until the connection ends.
func (c *conn) read() {
	for {
		f, err := c.framer.ReadFrame()
		if err == nil {
			c.heard.Store(true)
			err = c.frame(f)
		}
		var stream http2.StreamError
		if errors.As(err, &stream) {
			c.reset(stream.StreamID, codes.Internal, err.Error())
			continue
		}
		if err != nil {
			c.end(err)
			return
		}
	}
}

func (c *conn) frame(f http2.Frame) error {
	switch f := f.(type) {
	case *http2.DataFrame:
		return c.data(f)
	case *http2.HeadersFrame:
		c.fields.id, c.fields.end, c.fields.n = f.StreamID, f.StreamEnded(), 0
		c.head = head{}
		return c.fragment(f.HeaderBlockFragment(), f.HeadersEnded())
	case *http2.ContinuationFrame:
		return c.fragment(f.HeaderBlockFragment(), f.HeadersEnded())
	case *http2.RSTStreamFrame:
		c.refused(f)
	case *http2.SettingsFrame:
		if !f.IsAck() {
			return c.settings(f)
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			c.mu.Lock()
			_ = c.framer.WritePing(true, f.Data) // into memory
			c.unlock()
		}
	case *http2.WindowUpdateFrame:
		return c.windowUpdate(f)
	case *http2.GoAwayFrame:
		c.goAway(f)
	case *http2.PushPromiseFrame:
		return errors.New("the server pushes, though it was told not to")
	}
	return nil
}

// maxBlock bounds the fragments of one header block, decoded or not.
const maxBlock = 16 * maxHeaderList

func (c *conn) fragment(p []byte, end bool) error {
	c.fields.n += len(p)
	if c.fields.n > maxBlock {
		return errors.New("headers without end")
	}
	if _, err := c.decoder.Write(p); err != nil {
		return fmt.Errorf("headers: %w", err)
	}
	if !end {
		return nil
	}
	if err := c.decoder.Close(); err != nil {
		return fmt.Errorf("headers: %w", err)
	}
	if c.head.informational() && !c.fields.end {
		return nil
	}
	c.mu.Lock()
	k := c.streams[c.fields.id]
	switch {
	case k == nil: // given up before
		c.unlock()
		return nil
	case k.headed && !c.fields.end:
		c.finish(k, codes.Internal, "headers in the middle of a response")
		return nil
	case !k.headed:
		if code, text := c.head.refusal(); code != codes.OK {
			c.finish(k, code, text)
			return nil
		}
		k.headed = true
	}
	if !c.fields.end {
		c.unlock()
		return nil
	}
	c.head.into(&k.reply)
	c.remove(k, false)
	c.unlock()
	if k.reply.Code == codes.OK && !k.reply.Local {
		k.response()
	}
	c.client.finish(k)
	return nil
}

// response takes the message out of the body.
func (k *call) response() {
	switch {
	case len(k.body) < prefix:
		k.reply.fail(codes.Internal, "OK without a response")
	case uint64(len(k.body)-prefix) != uint64(binary.BigEndian.Uint32(k.body[1:prefix])):
		k.reply.fail(codes.Internal, "a response of another length than it says")
	default:
		k.reply.Message = k.body[prefix:]
	}
}

// finish ends a call with a failure, under the lock, which it gives up.
func (c *conn) finish(k *call, code codes.Code, text string) {
	c.remove(k, true)
	c.unlock()
	c.client.fail(k, code, text)
}

// reset ends the call of a stream on which something is wrong, and the stream.
func (c *conn) reset(id uint32, code codes.Code, text string) {
	c.mu.Lock()
	if k := c.streams[id]; k != nil {
		c.finish(k, code, text)
		return
	}
	c.unlock()
}

func (c *conn) data(f *http2.DataFrame) error {
	size := int64(f.Length) // with the padding, which counts too
	c.unread += size
	c.mu.Lock()
	if c.unread >= connWindow/2 {
		_ = c.framer.WriteWindowUpdate(0, uint32(c.unread))
		c.unread = 0
	}
	k := c.streams[f.StreamID]
	if k == nil { // given up before
		c.unlock()
		return nil
	}
	k.body = append(k.body, f.Data()...)
	k.unread += size
	switch length := 0; {
	case !k.headed:
		c.finish(k, codes.Internal, "a response without headers")
		return nil
	case f.StreamEnded():
		c.finish(k, codes.Internal, "the response ended without trailers")
		return nil
	case len(k.body) >= prefix:
		length = int(binary.BigEndian.Uint32(k.body[1:]))
		if k.body[0] != 0 {
			c.finish(k, codes.Internal, "a compressed response, which was not asked for")
			return nil
		}
		if length > c.client.cfg.MaxMessage {
			c.finish(k, codes.ResourceExhausted, fmt.Sprintf("a response of %d bytes; MaxMessage is %d", length, c.client.cfg.MaxMessage))
			return nil
		}
		if len(k.body) > prefix+length {
			c.finish(k, codes.Internal, "more than one response")
			return nil
		}
	}
	if k.unread >= streamWindow/2 {
		_ = c.framer.WriteWindowUpdate(k.id, uint32(k.unread))
		k.unread = 0
	}
	c.unlock()
	return nil
}

// refused is RST_STREAM. A stream that the server says it has not touched is tried again, once.
func (c *conn) refused(f *http2.RSTStreamFrame) {
	c.mu.Lock()
	k := c.streams[f.StreamID]
	if k == nil {
		c.unlock()
		return
	}
	k.sent = len(k.message) // no need to reset what is reset
	c.remove(k, false)
	c.unlock()
	if f.ErrCode == http2.ErrCodeRefusedStream && !k.headed && !k.retried {
		k.retried = true
		k.rewind()
		c.client.dispatch(k, c.client.now())
		return
	}
	if f.ErrCode == http2.ErrCodeCancel && c.client.now() >= k.deadline { // the server was the first to see it
		c.client.fail(k, codes.DeadlineExceeded, "deadline passed")
		return
	}
	k.reply.fail(fromReset(f.ErrCode), "the server reset the stream: "+f.ErrCode.String())
	k.reply.Local = false
	c.client.finish(k)
}

func (c *conn) settings(f *http2.SettingsFrame) error {
	c.mu.Lock()
	defer c.unlock()
	err := f.ForeachSetting(func(s http2.Setting) error {
		switch s.ID {
		case http2.SettingMaxConcurrentStreams:
			c.maxStreams = int(min(s.Val, noLimit))
		case http2.SettingInitialWindowSize:
			c.resize(int64(s.Val) - c.newWindow)
			c.newWindow = int64(s.Val)
		case http2.SettingMaxFrameSize:
			c.maxFrame = int(s.Val)
		case http2.SettingHeaderTableSize:
			c.headers.setTableSize(s.Val)
		}
		return s.Valid()
	})
	_ = c.framer.WriteSettingsAck() // into memory
	c.pump()
	return err
}

// resize changes the windows of all streams (RFC 9113, 6.9.2).
func (c *conn) resize(by int64) {
	for _, k := range c.inOrder(0) {
		stalled := k.stalled()
		k.window += by
		if stalled && k.window > 0 {
			c.waiting.pushFront(k)
		}
	}
}

// inOrder is the calls with streams above id, in the order in which they were started.
func (c *conn) inOrder(id uint32) []*call {
	var calls []*call
	for _, k := range c.streams {
		if k.id > id {
			calls = append(calls, k)
		}
	}
	slices.SortFunc(calls, func(a, b *call) int { return int(a.id) - int(b.id) })
	return calls
}

func (c *conn) windowUpdate(f *http2.WindowUpdateFrame) error {
	c.mu.Lock()
	defer c.unlock()
	if f.StreamID == 0 {
		c.window += int64(f.Increment)
		if c.window > maxStreamID {
			return errors.New("the server's window overflows")
		}
	} else if k := c.streams[f.StreamID]; k != nil {
		stalled := k.stalled()
		k.window += int64(f.Increment)
		if stalled && k.window > 0 {
			c.waiting.pushFront(k)
		}
	}
	c.pump()
	return nil
}

// goAway: no new calls, and those that the server says it has not touched go to other connections, once.
func (c *conn) goAway(f *http2.GoAwayFrame) {
	if f.ErrCode != http2.ErrCodeNo {
		c.client.log.Warn("the server sends the connection away", "target", c.slot.target,
			"code", f.ErrCode.String(), "text", string(f.DebugData()))
	}
	c.client.withdraw(c)
	var again, lost list
	c.mu.Lock()
	c.draining = true
	for _, k := range c.inOrder(f.LastStreamID) {
		k.sent = len(k.message) // a stream that does not exist needs no reset
		c.remove(k, false)
		if k.retried {
			lost.push(k)
			continue
		}
		k.retried = true
		k.rewind()
		again.push(k)
	}
	moved := c.unstarted()
	c.unlock()
	c.move(again)
	c.move(moved)
	for k := lost.first; k != nil; {
		next := k.next
		k.list, k.prev, k.next = nil, nil, nil
		c.client.fail(k, codes.Unavailable, "refused twice")
		k = next
	}
}

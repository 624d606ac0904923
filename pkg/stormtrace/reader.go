package stormtrace

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/klauspost/compress/zstd"
)

// maxLine bounds a line, the header with its model included.
const maxLine = 1 << 20

// Reader reads a trace. It is not safe for concurrent use.
type Reader struct {
	header  Header
	lines   *bufio.Reader
	zstd    *zstd.Decoder // nil: plain
	file    io.Closer     // nil: not ours
	name    string
	line    int64
	events  int64
	last    int64
	long    []byte // a line over lines' buffer
	stopped error
}

// Open opens a trace's file; "-" is the standard input.
func Open(path string) (*Reader, error) {
	if path == "-" {
		r, err := newReader(os.Stdin, "standard input")
		return r, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("stormtrace: %w", err)
	}
	r, err := newReader(file, path)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	r.file = file
	return r, nil
}

// NewReader reads the header. Whether it is zstd shows in the first bytes.
func NewReader(r io.Reader) (*Reader, error) { return newReader(r, "the trace") }

func newReader(from io.Reader, name string) (*Reader, error) {
	r := &Reader{name: name, lines: bufio.NewReaderSize(from, 64<<10)}
	magic, err := r.lines.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("stormtrace: %s: %w", name, err)
	}
	if bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}) { // RFC 8878, 3.1.1
		if r.zstd, err = zstd.NewReader(r.lines, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(64<<20)); err != nil {
			return nil, fmt.Errorf("stormtrace: %s: %w", name, err)
		}
		r.lines = bufio.NewReaderSize(r.zstd, 256<<10)
	}
	if err := r.readHeader(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Reader) readHeader() error {
	line, err := r.next()
	if errors.Is(err, io.EOF) || errors.Is(err, ErrTruncated) {
		return fmt.Errorf("%w: %s is empty or ends in its first line, which should be the header", ErrFormat, r.name)
	}
	if err != nil {
		return err
	}
	var h header
	if err := json.Unmarshal(line, &h); err != nil || h.Format != format {
		return fmt.Errorf("%w: %s:1: the first line should begin with {\"fmt\":\"%s\"; make a trace with storm synth or surgegate serve --record", ErrFormat, r.name, format)
	}
	if h.Version != version {
		return fmt.Errorf("%w: %s is of version %d, this program reads %d; use the release that made it", ErrVersion, r.name, h.Version, version)
	}
	if h.Unit != unit {
		return fmt.Errorf("%w: %s:1: the unit is %q, it should be %q (microseconds)", ErrFormat, r.name, h.Unit, unit)
	}
	r.header = Header{T0: h.T0, Seed: h.Seed, Model: h.Model, ID: h.ID}
	return nil
}

// Header is the trace's.
func (r *Reader) Header() Header { return r.header }

// Next returns the next event; io.EOF after the last. After an error it returns that error again.
func (r *Reader) Next() (Event, error) {
	if r.stopped != nil {
		return Event{}, r.stopped
	}
	var e Event
	for {
		line, err := r.next()
		if err != nil {
			r.stopped = err
			return Event{}, err
		}
		if len(line) == 0 {
			continue // an empty line in a trace made by hand
		}
		if !e.parse(line) {
			if err := e.parseAny(line); err != nil {
				r.stopped = fmt.Errorf("%w: %s:%d: %w", ErrFormat, r.name, r.line, err)
				return Event{}, r.stopped
			}
		}
		break
	}
	if e.T < r.last {
		r.stopped = fmt.Errorf("%w: %s:%d: t is %d after %d; sort the events by t (the header stays first)", ErrOrder, r.name, r.line, e.T, r.last)
		return Event{}, r.stopped
	}
	r.last = e.T
	r.events++
	return e, nil
}

// next is the next line without its end; valid until the next call.
func (r *Reader) next() ([]byte, error) {
	line, err := r.lines.ReadSlice('\n')
	r.long = r.long[:0]
	for errors.Is(err, bufio.ErrBufferFull) && len(r.long) < maxLine {
		r.long = append(r.long, line...)
		line, err = r.lines.ReadSlice('\n')
	}
	if len(r.long) > 0 {
		r.long = append(r.long, line...)
		line = r.long
	}
	switch {
	case err == nil:
		r.line++
		return bytes.TrimSpace(line), nil
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, fmt.Errorf("%w: %s:%d: a line of over %d bytes", ErrFormat, r.name, r.line+1, maxLine)
	case errors.Is(err, io.EOF) && len(line) == 0:
		return nil, io.EOF
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		if json.Valid(line) && r.zstd == nil { // made by hand, without a line end
			r.line++
			return line, nil
		}
		return nil, fmt.Errorf("%w: %s has %d whole events; the rest was never written, or the file was not copied whole", ErrTruncated, r.name, r.events)
	default:
		return nil, fmt.Errorf("%w: %s after %d events: %w; the file is damaged", ErrFormat, r.name, r.events, err)
	}
}

// Close lets go of what Open opened.
func (r *Reader) Close() error {
	if r.zstd != nil {
		r.zstd.Close()
	}
	if r.file == nil {
		return nil
	}
	if err := r.file.Close(); err != nil {
		return fmt.Errorf("stormtrace: %w", err)
	}
	return nil
}

// parse reads a line as Writer makes it; false for any other.
func (e *Event) parse(b []byte) bool {
	var t, u, attempt, deadline uint64
	ok := field(&b, `{"t":`, &t) && field(&b, `,"u":`, &u) && word(&b, `,"op":"`, opNames[:], (*uint8)(&e.Op)) &&
		word(&b, `,"src":"`, sourceNames[:], (*uint8)(&e.Source)) && word(&b, `,"cause":"`, causeNames[:], (*uint8)(&e.Cause)) &&
		field(&b, `,"att":`, &attempt) && field(&b, `,"dl_ms":`, &deadline)
	if !ok || t > 1<<62 || attempt > 1<<31 || deadline > maxDeadlineMS {
		return false
	}
	e.T, e.U, e.Attempt, e.Deadline, e.Office = int64(t), u, uint32(attempt), time.Duration(deadline)*time.Millisecond, 0
	if len(b) > 1 && !field(&b, `,"off":`, &e.Office) {
		return false
	}
	return len(b) == 1 && b[0] == '}'
}

// maxDeadlineMS is 31 years; what is longer is nonsense and would not fit a Duration of ns.
const maxDeadlineMS = 1e12

// field takes a name and a number; a number that does not fit is none.
func field(b *[]byte, name string, into *uint64) bool {
	s := *b
	if len(s) < len(name) || string(s[:len(name)]) != name {
		return false
	}
	s = s[len(name):]
	var v uint64
	n := 0
	for ; n < len(s) && s[n] >= '0' && s[n] <= '9'; n++ {
		digit := uint64(s[n] - '0')
		if v > (1<<64-1-digit)/10 {
			return false
		}
		v = v*10 + digit
	}
	*into, *b = v, s[n:]
	return n > 0 && (n == 1 || s[0] != '0')
}

// word takes a name and one of some words in quotes.
func word(b *[]byte, name string, words []string, into *uint8) bool {
	s := *b
	if len(s) < len(name) || string(s[:len(name)]) != name {
		return false
	}
	s = s[len(name):]
	for i, w := range words {
		if len(s) > len(w) && s[len(w)] == '"' && string(s[:len(w)]) == w {
			*into, *b = uint8(i), s[len(w)+1:]
			return true
		}
	}
	return false
}

// parseAny reads any line of the format; its error says what is missing.
func (e *Event) parseAny(line []byte) error {
	var any struct {
		T        *int64  `json:"t"`
		U        uint64  `json:"u"`
		Op       *string `json:"op"`
		Source   *string `json:"src"`
		Cause    *string `json:"cause"`
		Attempt  uint32  `json:"att"`
		Deadline int64   `json:"dl_ms"`
		Office   uint64  `json:"off"`
	}
	if err := json.Unmarshal(line, &any); err != nil {
		return fmt.Errorf("this is no event: %w", err)
	}
	switch {
	case any.T == nil:
		return errors.New("t is missing: µs since the header's t0")
	case *any.T < 0 || *any.T > 1<<62:
		return fmt.Errorf("t is %d; it is µs since the header's t0, and at least 0", *any.T)
	case any.Op == nil:
		return fmt.Errorf("op is missing; it is one of %q", opNames)
	case any.Deadline < 0 || any.Deadline > maxDeadlineMS:
		return fmt.Errorf("dl_ms is %d; it is ms, and 0 for none", any.Deadline)
	}
	*e = Event{T: *any.T, U: any.U, Attempt: any.Attempt, Deadline: time.Duration(any.Deadline) * time.Millisecond, Office: any.Office}
	return errors.Join(
		lookUp("op", any.Op, opNames[:], (*uint8)(&e.Op)),
		lookUp("src", any.Source, sourceNames[:], (*uint8)(&e.Source)),
		lookUp("cause", any.Cause, causeNames[:], (*uint8)(&e.Cause)))
}

func lookUp(field string, word *string, words []string, into *uint8) error {
	if word == nil {
		return nil
	}
	for i, w := range words {
		if w == *word {
			*into = uint8(i)
			return nil
		}
	}
	return fmt.Errorf("%s is %q; it is one of %q", field, *word, words)
}

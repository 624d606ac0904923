package stormlog

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

// maxLine is the longest line in bytes. The header with its model is the longest one.
const maxLine = 1 << 20

// Reader reads a storm log. It is not safe for concurrent use.
type Reader struct {
	header Header
	lines  *bufio.Reader
	zstd   *zstd.Decoder // nil when the input is plain
	file   io.Closer     // the file that Open opened; else nil
	name   string        // of the input, for error texts
	line   int64         // number of the line that was read last
	events int64         // events returned so far
	last   int64         // T of the last event
	long   []byte        // holds a line that is longer than the buffer of lines
	err    error         // the first error of Next, which every later Next returns
}

// Open opens a storm log. The path "-" means the standard input.
func Open(path string) (*Reader, error) {
	if path == "-" {
		r, err := newReader(os.Stdin, "standard input")
		return r, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("stormlog: %w", err)
	}
	r, err := newReader(file, path)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	r.file = file
	return r, nil
}

// NewReader reads the header from r. It recognises zstd by the first four bytes.
func NewReader(r io.Reader) (*Reader, error) { return newReader(r, "the storm log") }

func newReader(from io.Reader, name string) (*Reader, error) {
	r := &Reader{name: name, lines: bufio.NewReaderSize(from, 64<<10)}
	magic, err := r.lines.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("stormlog: %s: %w", name, err)
	}
	if bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}) { // RFC 8878, 3.1.1
		if r.zstd, err = zstd.NewReader(r.lines, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(64<<20)); err != nil {
			return nil, fmt.Errorf("stormlog: %s: %w", name, err)
		}
		r.lines = bufio.NewReaderSize(r.zstd, 256<<10)
	}
	if err := r.readHeader(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Reader) readHeader() error {
	line, err := r.readLine()
	if errors.Is(err, io.EOF) || errors.Is(err, ErrTruncated) {
		return fmt.Errorf("%w: %s is empty or ends in its first line, which should be the header", ErrFormat, r.name)
	}
	if err != nil {
		return err
	}
	var h header
	if err := json.Unmarshal(line, &h); err != nil || h.Format != format {
		return fmt.Errorf("%w: %s:1: the first line should begin with {\"fmt\":\"%s\"; make such a file with storm synth or surgegate serve --record", ErrFormat, r.name, format)
	}
	if h.Version != version {
		return fmt.Errorf("%w: %s has format version %d and this program reads %d; use the release that made the file", ErrVersion, r.name, h.Version, version)
	}
	if h.Unit != unit {
		return fmt.Errorf("%w: %s:1: the unit is %q, it should be %q (microseconds)", ErrFormat, r.name, h.Unit, unit)
	}
	r.header = Header{T0: h.T0, Seed: h.Seed, Model: h.Model, ID: h.ID}
	return nil
}

// Header returns the header of the log.
func (r *Reader) Header() Header { return r.header }

// Next returns the next event, or io.EOF after the last one. After an error it returns the same error again.
func (r *Reader) Next() (Event, error) {
	if r.err != nil {
		return Event{}, r.err
	}
	var e Event
	for {
		line, err := r.readLine()
		if err != nil {
			r.err = err
			return Event{}, err
		}
		if len(line) == 0 {
			continue // somebody edited the file by hand
		}
		if !e.parseFast(line) {
			if err := e.parseJSON(line); err != nil {
				r.err = fmt.Errorf("%w: %s:%d: %w", ErrFormat, r.name, r.line, err)
				return Event{}, r.err
			}
		}
		break
	}
	if e.T < r.last {
		r.err = fmt.Errorf("%w: %s:%d: t is %d after %d; sort the events by t (the header stays first)", ErrOrder, r.name, r.line, e.T, r.last)
		return Event{}, r.err
	}
	r.last = e.T
	r.events++
	return e, nil
}

// readLine returns the next line without its end. The line is valid until the next call.
func (r *Reader) readLine() ([]byte, error) {
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
		return nil, fmt.Errorf("%w: %s:%d: the line is longer than %d bytes", ErrFormat, r.name, r.line+1, maxLine)
	case errors.Is(err, io.EOF) && len(line) == 0:
		return nil, io.EOF
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		if json.Valid(line) && r.zstd == nil { // edited by hand, without a final line end
			r.line++
			return line, nil
		}
		return nil, fmt.Errorf("%w: %s has %d complete events; the recorder was killed, or the file was not copied completely", ErrTruncated, r.name, r.events)
	default:
		return nil, fmt.Errorf("%w: %s after %d events: %w; the file is damaged", ErrFormat, r.name, r.events, err)
	}
}

// Close releases the decoder and closes the file that Open opened.
func (r *Reader) Close() error {
	if r.zstd != nil {
		r.zstd.Close()
	}
	if r.file == nil {
		return nil
	}
	if err := r.file.Close(); err != nil {
		return fmt.Errorf("stormlog: %w", err)
	}
	return nil
}

// parseFast reads a line that is written exactly as Writer writes it, and returns false for any other. encoding/json takes
// more than three times as long (BenchmarkRead).
func (e *Event) parseFast(b []byte) bool {
	var t, u, attempt, deadline uint64
	ok := cutNumber(&b, `{"t":`, &t) && cutNumber(&b, `,"u":`, &u) && cutWord(&b, `,"op":"`, opNames[:], (*uint8)(&e.Op)) &&
		cutWord(&b, `,"src":"`, sourceNames[:], (*uint8)(&e.Source)) && cutWord(&b, `,"cause":"`, causeNames[:], (*uint8)(&e.Cause)) &&
		cutNumber(&b, `,"att":`, &attempt) && cutNumber(&b, `,"dl_ms":`, &deadline)
	if !ok || t > 1<<62 || attempt > 1<<31 || deadline > maxDeadlineMS {
		return false
	}
	e.T, e.U, e.Attempt, e.Deadline, e.Office = int64(t), u, uint32(attempt), time.Duration(deadline)*time.Millisecond, 0
	if len(b) > 1 && !cutNumber(&b, `,"off":`, &e.Office) {
		return false
	}
	return len(b) == 1 && b[0] == '}'
}

// maxDeadlineMS is the longest deadline in ms, 31 years. A time.Duration cannot hold ten times as much.
const maxDeadlineMS = 1e12

// cutNumber cuts a field's name and a decimal number off the front of b. It returns false, and leaves b alone, where that
// is not what b begins with or the number does not fit 64 bits.
func cutNumber(b *[]byte, name string, into *uint64) bool {
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

// cutWord cuts a field's name and one of the words, which ends with a quote, off the front of b. It returns false, and
// leaves b alone, where that is not what b begins with.
func cutWord(b *[]byte, name string, words []string, into *uint8) bool {
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

// parseJSON reads any line of the format with encoding/json. Its error says what is wrong with the line.
func (e *Event) parseJSON(line []byte) error {
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
		return fmt.Errorf("the line is not an event: %w", err)
	}
	switch {
	case any.T == nil:
		return errors.New("t is missing; it is the time in µs since the header's t0")
	case *any.T < 0 || *any.T > 1<<62:
		return fmt.Errorf("t is %d; it is the time in µs since the header's t0 and must be at least 0", *any.T)
	case any.Op == nil:
		return fmt.Errorf("op is missing; it is one of %q", opNames)
	case any.Deadline < 0 || any.Deadline > maxDeadlineMS:
		return fmt.Errorf("dl_ms is %d; it is the deadline in ms, or 0 for none", any.Deadline)
	}
	*e = Event{T: *any.T, U: any.U, Attempt: any.Attempt, Deadline: time.Duration(any.Deadline) * time.Millisecond, Office: any.Office}
	return errors.Join(
		parseName("op", any.Op, opNames[:], (*uint8)(&e.Op)),
		parseName("src", any.Source, sourceNames[:], (*uint8)(&e.Source)),
		parseName("cause", any.Cause, causeNames[:], (*uint8)(&e.Cause)))
}

// parseName sets into to the index of the word among words. A nil word leaves into alone.
func parseName(field string, word *string, words []string, into *uint8) error {
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

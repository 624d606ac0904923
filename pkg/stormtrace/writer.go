package stormtrace

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Writer writes a trace. It is not safe for concurrent use.
type Writer struct {
	zstd   *zstd.Encoder
	file   io.Closer // nil: not ours
	line   []byte    // whole lines that have not gone on to zstd
	last   int64
	events int64
	failed error
}

// passOn is how many bytes of lines are kept together: fewer calls of zstd, which takes what it gets in blocks of 128 KiB.
const passOn = 64 << 10

// Create makes a trace's file, readable by its owner alone. A file that is there is an error.
func Create(path string, h Header) (*Writer, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("stormtrace: %s is there already, and a trace is never written over: name another file, or move it away", path)
	}
	if err != nil {
		return nil, fmt.Errorf("stormtrace: %w", err)
	}
	w, err := NewWriter(file, h)
	if err != nil {
		return nil, errors.Join(err, file.Close(), os.Remove(path))
	}
	w.file = file
	return w, nil
}

// NewWriter writes the header.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	line, err := json.Marshal(header{
		Format: format, Version: version, T0: h.T0.UTC(), Unit: unit, Seed: h.Seed, Model: h.Model, ID: h.ID,
	})
	if err != nil {
		return nil, fmt.Errorf("stormtrace: header: %w", err)
	}
	// One goroutine compresses beside the caller; the output does not depend on it.
	compressor, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2), zstd.WithWindowSize(1<<20))
	if err != nil {
		return nil, fmt.Errorf("stormtrace: %w", err)
	}
	return &Writer{zstd: compressor, line: append(line, '\n')}, nil
}

// Events is how many were written.
func (w *Writer) Events() int64 { return w.events }

// Write adds an event. After an error of the file below, every further one fails with it.
func (w *Writer) Write(e *Event) error {
	if w.failed != nil {
		return w.failed
	}
	if err := e.valid(); err != nil {
		return err
	}
	if e.T < w.last {
		return fmt.Errorf("%w: an event at %d µs after one at %d µs", ErrOrder, e.T, w.last)
	}
	w.last = e.T
	w.events++
	w.line = e.append(w.line)
	if len(w.line) >= passOn {
		return w.pass()
	}
	return nil
}

// append adds the event's line.
func (e *Event) append(b []byte) []byte {
	b = append(b, `{"t":`...)
	b = strconv.AppendInt(b, e.T, 10)
	b = append(b, `,"u":`...)
	b = strconv.AppendUint(b, e.U, 10)
	b = append(b, `,"op":"`...)
	b = append(b, opNames[e.Op]...)
	b = append(b, `","src":"`...)
	b = append(b, sourceNames[e.Source]...)
	b = append(b, `","cause":"`...)
	b = append(b, causeNames[e.Cause]...)
	b = append(b, `","att":`...)
	b = strconv.AppendUint(b, uint64(e.Attempt), 10)
	b = append(b, `,"dl_ms":`...)
	b = strconv.AppendInt(b, int64(e.Deadline/time.Millisecond), 10)
	if e.Office != 0 {
		b = append(b, `,"off":`...)
		b = strconv.AppendUint(b, e.Office, 10)
	}
	return append(b, '}', '\n')
}

func (w *Writer) pass() error {
	_, err := w.zstd.Write(w.line)
	w.line = w.line[:0]
	return w.fail(err)
}

func (w *Writer) fail(err error) error {
	if err != nil && w.failed == nil {
		w.failed = fmt.Errorf("stormtrace: %w", err)
	}
	return w.failed
}

// Flush passes everything so far on to the file, so that a reader finds it whatever happens next. It costs some
// compression.
func (w *Writer) Flush() error {
	if err := w.pass(); err != nil {
		return err
	}
	return w.fail(w.zstd.Flush())
}

// Close flushes, ends the stream and closes the file that Create made.
func (w *Writer) Close() error {
	err := w.pass()
	if closeErr := w.zstd.Close(); closeErr != nil && err == nil {
		err = fmt.Errorf("stormtrace: %w", closeErr)
	}
	if w.file != nil {
		if closeErr := w.file.Close(); closeErr != nil {
			err = errors.Join(err, fmt.Errorf("stormtrace: %w", closeErr))
		}
	}
	if w.failed == nil {
		w.failed = errors.New("stormtrace: the writer is closed")
	}
	return err
}

package stormlog

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

// Writer writes a storm log. It is not safe for concurrent use.
type Writer struct {
	zstd   *zstd.Encoder
	file   io.Closer // the file that Create made; else nil
	lines  []byte    // complete lines that zstd has not received
	last   int64     // T of the last event
	events int64     // events written
	err    error     // the first error of the output, which every later call returns
}

// bufferBytes is how many bytes of lines are collected before zstd receives them. zstd compresses blocks of 128 KiB, so
// smaller pieces would only cost more calls.
const bufferBytes = 64 << 10

// Create creates the file with mode 0600 and writes the header. An existing file is an error.
func Create(path string, h Header) (*Writer, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("stormlog: %s exists and is never written over: choose another name or move the file away", path)
	}
	if err != nil {
		return nil, fmt.Errorf("stormlog: %w", err)
	}
	w, err := NewWriter(file, h)
	if err != nil {
		return nil, errors.Join(err, file.Close(), os.Remove(path))
	}
	w.file = file
	return w, nil
}

// NewWriter returns a Writer to w. The header is written with the first events, or by Flush.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	line, err := json.Marshal(header{
		Format: format, Version: version, T0: h.T0.UTC(), Unit: unit, Seed: h.Seed, Model: h.Model, ID: h.ID,
	})
	if err != nil {
		return nil, fmt.Errorf("stormlog: header: %w", err)
	}
	// One goroutine compresses while the caller goes on. The output is the same as with none.
	compressor, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2), zstd.WithWindowSize(1<<20))
	if err != nil {
		return nil, fmt.Errorf("stormlog: %w", err)
	}
	return &Writer{zstd: compressor, lines: append(line, '\n')}, nil
}

// Events returns the number of events written.
func (w *Writer) Events() int64 { return w.events }

// Write adds an event. It fails with ErrFormat for an invalid event and with ErrOrder for one that is earlier than the last;
// both leave the log as it was. After an error of the output every call returns that error.
func (w *Writer) Write(e *Event) error {
	if w.err != nil {
		return w.err
	}
	if err := e.validate(); err != nil {
		return err
	}
	if e.T < w.last {
		return fmt.Errorf("%w: the event at %d µs comes after one at %d µs", ErrOrder, e.T, w.last)
	}
	w.last = e.T
	w.events++
	w.lines = e.appendLine(w.lines)
	if len(w.lines) >= bufferBytes {
		return w.writeOut()
	}
	return nil
}

// appendLine appends the event's line to b. encoding/json takes more than three times as long (BenchmarkWrite).
func (e *Event) appendLine(b []byte) []byte {
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

// writeOut gives the collected lines to zstd.
func (w *Writer) writeOut() error {
	_, err := w.zstd.Write(w.lines)
	w.lines = w.lines[:0]
	return w.keepError(err)
}

// keepError keeps the first error and returns it.
func (w *Writer) keepError(err error) error {
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("stormlog: %w", err)
	}
	return w.err
}

// Flush writes everything so far to the output, so that a reader finds it even if the process is killed afterwards. Each
// Flush makes the file a little larger.
func (w *Writer) Flush() error {
	if err := w.writeOut(); err != nil {
		return err
	}
	return w.keepError(w.zstd.Flush())
}

// Close flushes, ends the zstd stream and closes the file that Create made. Write fails afterwards.
func (w *Writer) Close() error {
	err := w.writeOut()
	if closeErr := w.zstd.Close(); closeErr != nil && err == nil {
		err = fmt.Errorf("stormlog: %w", closeErr)
	}
	if w.file != nil {
		if closeErr := w.file.Close(); closeErr != nil {
			err = errors.Join(err, fmt.Errorf("stormlog: %w", closeErr))
		}
	}
	if w.err == nil {
		w.err = errors.New("stormlog: the writer is closed")
	}
	return err
}

package screen

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// Keys that have no letter.
const (
	CtrlC byte = 0x03
	Tab   byte = '\t'
)

// Keys reads single keys from the process's terminal.
type Keys struct {
	tty    *os.File
	before *term.State
	keys   chan byte
	stop   chan struct{}
	done   sync.WaitGroup
	once   sync.Once
	err    error
}

// OpenKeys puts the process's terminal into raw mode and reads from it until Close. It fails where there is no terminal.
func OpenKeys() (*Keys, error) {
	// Opened anew rather than standard input: this one can be read with a deadline, so that Close can end the reader.
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("screen: no terminal to read keys from: %w", err)
	}
	if err := tty.SetReadDeadline(time.Time{}); err != nil {
		return nil, errors.Join(fmt.Errorf("screen: the terminal cannot be read with a deadline: %w", err), tty.Close())
	}
	k := &Keys{
		tty:  tty,
		keys: make(chan byte, 16), // somebody who types faster than once a frame loses no key
		stop: make(chan struct{}),
	}
	if err := k.control(func(fd int) (err error) {
		k.before, err = term.MakeRaw(fd)
		return err
	}); err != nil {
		return nil, errors.Join(fmt.Errorf("screen: raw mode: %w", err), tty.Close())
	}
	k.done.Go(k.read)
	return k, nil
}

// C delivers the keys; it is closed when the terminal is gone or Close was called. Keys of more than one byte (arrows, Alt) and
// bytes that come with them are left out.
func (k *Keys) C() <-chan byte { return k.keys }

// Close ends the reader and gives the terminal its mode back. It may be called again.
func (k *Keys) Close() error {
	k.once.Do(func() {
		close(k.stop)
		_ = k.tty.SetReadDeadline(time.Unix(1, 0)) // long ago: a read that waits returns at once
		k.done.Wait()
		k.err = errors.Join(k.control(func(fd int) error { return term.Restore(fd, k.before) }), k.tty.Close())
	})
	return k.err
}

// control calls f with the descriptor. Fd() would make it blocking, and a blocking read has no deadline.
func (k *Keys) control(f func(fd int) error) error {
	raw, err := k.tty.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

func (k *Keys) read() {
	defer close(k.keys)
	buf := make([]byte, 64)
	for {
		n, err := k.tty.Read(buf)
		if err != nil {
			return
		}
		if buf[0] == '\x1b' {
			continue
		}
		for _, key := range buf[:n] {
			select {
			case k.keys <- key:
			case <-k.stop:
				return
			}
		}
	}
}

package edge

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
)

// reloadable is a value that is made from files, and made again when one of them has changed. The files are looked at when the value
// is used, at most once a second, so no goroutine is needed. While they cannot be read, the old value stays in use.
type reloadable[T any] struct {
	files []string
	parse func(contents [][]byte) (T, error)
	clock clock.Clock
	fail  func(error) // is called with what went wrong with a reload

	mu          sync.Mutex
	value       T
	fingerprint string    // of the files when the value was made
	nextLook    time.Time // when the files are looked at again
}

// load reads the value for the first time, at the start of the process. Its error must stop the start.
func (r *reloadable[T]) load() error {
	fingerprint, err := fingerprintOf(r.files)
	if err != nil {
		return err
	}
	v, err := r.read()
	if err != nil {
		return err
	}
	r.value, r.fingerprint, r.nextLook = v, fingerprint, r.clock.Now().Add(time.Second)
	return nil
}

// current returns the value, after a look at the files if it is time for one.
func (r *reloadable[T]) current() T {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock.Now()
	if now.Before(r.nextLook) {
		return r.value
	}
	r.nextLook = now.Add(time.Second)
	fingerprint, err := fingerprintOf(r.files)
	if err == nil && fingerprint == r.fingerprint {
		return r.value
	}
	if err == nil {
		var v T
		if v, err = r.read(); err == nil {
			// The fingerprint is older than the contents, so a file that changed in between is read again.
			r.value, r.fingerprint = v, fingerprint
		}
	}
	if err != nil {
		r.fail(err)
	}
	return r.value
}

func (r *reloadable[T]) read() (T, error) {
	contents := make([][]byte, len(r.files))
	for i, f := range r.files {
		b, err := os.ReadFile(f)
		if err != nil {
			var zero T
			return zero, err
		}
		contents[i] = b
	}
	return r.parse(contents)
}

// fingerprintOf returns the sizes and modification times of the files.
func fingerprintOf(files []string) (string, error) {
	var s strings.Builder
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&s, "%d %d;", info.Size(), info.ModTime().UnixNano())
	}
	return s.String(), nil
}

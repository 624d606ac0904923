package testbed

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
)

// The test's own process is the one that is slowed; it takes itself out of the group again.
func TestWritesAreSlowed(t *testing.T) {
	d, err := NewSlowDisk(t.Context(), filepath.Join(t.TempDir(), "disk"), 64<<20)
	if err != nil {
		t.Skip(err) // it says what is missing
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	file, err := os.Create(filepath.Join(d.dir, "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // nobody reads it
	took := func() time.Duration {
		begin := clock.System{}.Now()
		for range 3 {
			if _, err := file.Write(make([]byte, 4096)); err != nil {
				t.Fatal(err)
			}
			if err := file.Sync(); err != nil {
				t.Fatal(err)
			}
		}
		return clock.System{}.Now().Sub(begin)
	}
	took() // the first has metadata of its own
	if err := d.Slow(os.Getpid(), 4); err != nil {
		t.Fatal(err)
	}
	slow := took()
	if err := d.Fast(); err != nil {
		t.Fatal(err)
	}
	if fast := took(); slow < 3*time.Second/4 || fast > slow/2 {
		t.Errorf("3 writes took %v while slow, and %v after", slow, fast)
	}
	if err := os.WriteFile(filepath.Join(controllers, "cgroup.procs"), []byte("0"), 0o600); err != nil {
		t.Error(err)
	}
}

package testbed

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestADiskThatIsReallyFull(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "disk")
	d, err := NewSmallDisk(dir, 4<<20)
	if errors.Is(err, syscall.EPERM) {
		if os.Geteuid() == 0 {
			t.Fatal(err)
		}
		return // the error is what there is to test without root: it says what to do
	}
	if err != nil {
		t.Fatal(err)
	}
	write := func(n int) error { return os.WriteFile(filepath.Join(dir, "file"), bytes.Repeat([]byte{1}, n), 0o600) }
	if err := write(1 << 20); err != nil {
		t.Error(err)
	}
	for _, leave := range []int64{2 << 20, 1 << 20, 64 << 10} { // again and again, as what fills a disk does
		if err := d.Fill(leave); err != nil {
			t.Fatal(err)
		}
		if free, err := d.Free(); err != nil || free > leave || free < leave-8<<10 {
			t.Errorf("%d bytes are free of %d, %v", free, leave, err)
		}
	}
	if err := write(2 << 20); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("writing to a full disk: %v", err)
	}
	if err := errors.Join(d.Empty(), d.Empty()); err != nil {
		t.Error(err)
	}
	if err := write(2 << 20); err != nil {
		t.Error(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

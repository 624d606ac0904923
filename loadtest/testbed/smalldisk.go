package testbed

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// SmallDisk is a mounted tmpfs that can really be full: Fill writes a ballast file. Make it with NewSmallDisk, as root.
type SmallDisk struct{ dir string }

// NewSmallDisk mounts an empty disk of so many bytes at a folder, which it makes.
func NewSmallDisk(dir string, size int64) (*SmallDisk, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("testbed: %w", err)
	}
	err := syscall.Mount("smalldisk", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size))
	if errors.Is(err, syscall.EPERM) {
		return nil, fmt.Errorf("testbed: a disk that can be full is a mount, which takes root: run this as root, or leave disk-full out (%w)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("testbed: mount at %s: %w", dir, err)
	}
	return &SmallDisk{dir: dir}, nil
}

func (d *SmallDisk) ballast() string { return filepath.Join(d.dir, "ballast-of-smalldisk") }

// Free is how many bytes are left.
func (d *SmallDisk) Free() (int64, error) {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &stat); err != nil {
		return 0, fmt.Errorf("testbed: %w", err)
	}
	return int64(stat.Bavail) * stat.Bsize, nil
}

// Fill leaves so many bytes, or as many as there are if there are fewer. It may be called again to leave less.
func (d *SmallDisk) Fill(leave int64) error {
	free, err := d.Free()
	if err != nil {
		return err
	}
	file, err := os.OpenFile(d.ballast(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("testbed: %w", err)
	}
	if more := free - leave; more > 0 {
		var held os.FileInfo
		if held, err = file.Stat(); err == nil { // what it holds already is not free any more
			err = syscall.Fallocate(int(file.Fd()), 0, held.Size(), more)
		}
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("testbed: fill %s: %w", d.dir, err)
	}
	return nil
}

// Empty takes the ballast away.
func (d *SmallDisk) Empty() error {
	if err := os.Remove(d.ballast()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("testbed: %w", err)
	}
	return nil
}

// Close unmounts it; nobody may have a file of it open.
func (d *SmallDisk) Close() error {
	if err := syscall.Unmount(d.dir, 0); err != nil {
		return fmt.Errorf("testbed: unmount %s: %w", d.dir, err)
	}
	return nil
}

package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const controllers = "/sys/fs/cgroup/blkio"

// SlowDisk is a mounted file system on which the writes of one process can be slowed: ext4 without a journal, in a file on a loop device.
// A journal's thread writes for every process and belongs to no group, so a throttle would not reach it. It needs root, a free
// loop device, mkfs.ext4 and cgroup v1's blkio controller. Make it with NewSlowDisk and Close it.
type SlowDisk struct {
	dir, image string
	loop       string // the device
	group      string // folder of the control group
	device     string // MAJOR:MINOR of loop
}

// NewSlowDisk mounts an empty disk of so many bytes at a folder, which it makes. The bytes are allocated as they are written, in
// the folder's neighbour "FOLDER.img".
func NewSlowDisk(ctx context.Context, dir string, size int64) (d *SlowDisk, err error) {
	if _, err := os.Stat(filepath.Join(controllers, "blkio.throttle.write_iops_device")); err != nil {
		return nil, fmt.Errorf("testbed: a disk that can be slow takes cgroup v1's blkio throttle (%w)", err)
	}
	d = &SlowDisk{dir: dir, image: dir + ".img"}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return d, fmt.Errorf("testbed: %w", err)
	}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		return d, fmt.Errorf("testbed: %w", err)
	}
	if err := os.Truncate(d.image, size); err != nil {
		return d, fmt.Errorf("testbed: %w", err)
	}
	if d.loop, err = run(ctx, "losetup", "--find", "--show", d.image); err != nil {
		return d, err
	}
	if _, err := run(ctx, "mkfs.ext4", "-q", "-O", "^has_journal", d.loop); err != nil {
		return d, err
	}
	if err := syscall.Mount(d.loop, dir, "ext4", 0, ""); err != nil {
		return d, fmt.Errorf("testbed: mount at %s: %w", dir, err)
	}
	var stat syscall.Stat_t
	if err := syscall.Stat(d.loop, &stat); err != nil {
		return d, fmt.Errorf("testbed: %w", err)
	}
	d.device = fmt.Sprintf("%d:%d", stat.Rdev>>8&0xfff, stat.Rdev&0xff)
	d.group = filepath.Join(controllers, "slowdisk-"+strconv.Itoa(os.Getpid())+"-"+filepath.Base(d.loop))
	if err := os.Mkdir(d.group, 0o700); err != nil {
		return d, fmt.Errorf("testbed: %w", err)
	}
	return d, nil
}

// Slow lets a process write to the disk only so many times a second, from now on.
func (d *SlowDisk) Slow(pid, perSecond int) error {
	limit := fmt.Sprintf("%s %d", d.device, perSecond)
	for _, file := range []struct{ name, text string }{{"blkio.throttle.write_iops_device", limit}, {"cgroup.procs", strconv.Itoa(pid)}} {
		if err := os.WriteFile(filepath.Join(d.group, file.name), []byte(file.text), 0o600); err != nil {
			return fmt.Errorf("testbed: %w", err)
		}
	}
	return nil
}

// Fast ends the throttle.
func (d *SlowDisk) Fast() error {
	if err := os.WriteFile(filepath.Join(d.group, "blkio.throttle.write_iops_device"), []byte(d.device+" 0"), 0o600); err != nil {
		return fmt.Errorf("testbed: %w", err)
	}
	return nil
}

// Close unmounts it and takes everything away; nobody may have a file of it open, and the process of Slow must have ended.
func (d *SlowDisk) Close() (err error) {
	if d.group != "" {
		if e := os.Remove(d.group); e != nil && !errors.Is(e, os.ErrNotExist) {
			err = fmt.Errorf("testbed: %w", e)
		}
	}
	if d.device != "" {
		if e := syscall.Unmount(d.dir, 0); e != nil {
			err = errors.Join(err, fmt.Errorf("testbed: unmount %s: %w", d.dir, e))
		}
	}
	if d.loop != "" {
		_, e := run(context.Background(), "losetup", "--detach", d.loop)
		err = errors.Join(err, e)
	}
	if e := os.Remove(d.image); e != nil && !errors.Is(e, os.ErrNotExist) {
		err = errors.Join(err, fmt.Errorf("testbed: %w", e))
	}
	return err
}

// run returns what a command printed.
func run(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("testbed: %s: %w: %s", name, err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

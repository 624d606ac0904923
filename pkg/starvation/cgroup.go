package starvation

import (
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
)

// cgroups are the directories, own one first, in which a quota for this process may be set. Empty where there are none.
type cgroups struct {
	files  fs.FS
	dirs   []string
	legacy bool // version 1
}

// findCgroups reads where this process is. Version 1 goes before where it has the cpu controller, because version 2 has it not
// then.
func findCgroups(files fs.FS) cgroups {
	own, mounts := read(files, "proc/self/cgroup"), read(files, "proc/self/mountinfo")
	if dirs := cgroupDirs(own, mounts, true); len(dirs) > 0 {
		return cgroups{files: files, dirs: dirs, legacy: true}
	}
	return cgroups{files: files, dirs: cgroupDirs(own, mounts, false)}
}

// cgroupDirs returns the process's directory and those above it up to the mount point, without the leading slash.
// own is /proc/self/cgroup, mounts is /proc/self/mountinfo.
func cgroupDirs(own, mounts string, legacy bool) []string {
	in, ok := cgroupPath(own, legacy)
	if !ok {
		return nil
	}
	root, point, ok := cgroupMount(mounts, legacy)
	if !ok {
		return nil
	}
	// In a container the mount often begins at the container's own cgroup.
	rest, inside := strings.CutPrefix(in, strings.TrimSuffix(root, "/"))
	if !inside || rest != "" && rest[0] != '/' || strings.HasPrefix(in, "/..") {
		rest = ""
	}
	var dirs []string
	for dir := path.Join(point, rest); ; dir = path.Dir(dir) {
		dirs = append(dirs, strings.TrimPrefix(dir, "/"))
		if dir == point || dir == "/" {
			return dirs
		}
	}
}

// cgroupPath finds the process's cgroup in lines of "ID:CONTROLLERS:PATH"; version 2 has no controllers there.
func cgroupPath(own string, legacy bool) (string, bool) {
	for line := range strings.Lines(own) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		if !legacy && parts[0] == "0" && parts[1] == "" || legacy && hasField(parts[1], "cpu") {
			return parts[2], true
		}
	}
	return "", false
}

// cgroupMount finds the mount in lines of "ID PARENT DEVICE ROOT POINT OPTIONS … - TYPE SOURCE SUPEROPTIONS" (man 5 proc).
func cgroupMount(mounts string, legacy bool) (root, point string, ok bool) {
	for line := range strings.Lines(mounts) {
		mount, system, found := strings.Cut(line, " - ")
		left, right := strings.Fields(mount), strings.Fields(system)
		if !found || len(left) < 5 || len(right) < 3 {
			continue
		}
		if !legacy && right[0] == "cgroup2" || legacy && right[0] == "cgroup" && hasField(right[2], "cpu") {
			return left[3], left[4], true
		}
	}
	return "", "", false
}

func hasField(list, name string) bool {
	for f := range strings.SplitSeq(list, ",") {
		if f == name {
			return true
		}
	}
	return false
}

// limit is the smallest quota of the directories, in processors; false without one.
func (c cgroups) limit() (processors float64, ok bool) {
	for _, dir := range c.dirs {
		var q float64
		var has bool
		if c.legacy {
			q, has = parseQuota(read(c.files, dir+"/cpu.cfs_quota_us") + " " + read(c.files, dir+"/cpu.cfs_period_us"))
		} else {
			q, has = parseQuota(read(c.files, dir+"/cpu.max"))
		}
		if has && (!ok || q < processors) {
			processors, ok = q, true
		}
	}
	return processors, ok
}

// throttled is how long the quotas have held threads back, summed over processors and directories.
func (c cgroups) throttled() (sum time.Duration) {
	for _, dir := range c.dirs {
		sum += parseThrottled(read(c.files, dir+"/cpu.stat"))
	}
	return sum
}

// parseQuota reads "QUOTA PERIOD", in microseconds both; "max", as a quota below 0, is none.
func parseQuota(text string) (processors float64, ok bool) {
	fields := strings.Fields(text)
	if len(fields) != 2 {
		return 0, false
	}
	quota, err := strconv.ParseInt(fields[0], 10, 64)
	period, err2 := strconv.ParseInt(fields[1], 10, 64)
	if err != nil || err2 != nil || quota <= 0 || period <= 0 {
		return 0, false
	}
	return float64(quota) / float64(period), true
}

// parseThrottled reads cpu.stat: throttled_usec of version 2, throttled_time in nanoseconds of version 1.
func parseThrottled(stat string) time.Duration {
	for line := range strings.Lines(stat) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		unit, ok := map[string]time.Duration{"throttled_usec": time.Microsecond, "throttled_time": time.Nanosecond}[name]
		if !ok {
			continue
		}
		if n, err := strconv.ParseInt(value, 10, 64); err == nil && n >= 0 {
			return time.Duration(n) * unit
		}
	}
	return 0
}

// read returns a small file; nothing where it cannot be read.
func read(files fs.FS, name string) string {
	b, err := fs.ReadFile(files, name)
	if err != nil {
		return ""
	}
	return string(b)
}

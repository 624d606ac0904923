package starvation

import (
	"math"
	"slices"
	"testing"
	"testing/fstest"
	"time"
)

// machine makes the files of a machine.
func machine(files map[string]string) fstest.MapFS {
	all := fstest.MapFS{}
	for name, text := range files {
		all[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return all
}

// What machines show in /proc/self/cgroup and /proc/self/mountinfo.
const (
	version2Mounts = "22 1 0:21 / /proc rw - proc proc rw\n30 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
	version1Own    = "3:cpuset:/\n2:cpuacct,cpu:/docker/abc/worker\n0::/docker/abc\n"
	version1Mounts = "35 24 0:30 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n" +
		"34 24 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
)

func TestCgroups(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files     map[string]string
		dirs      []string
		limit     float64 // 0: none
		throttled time.Duration
	}{
		"no /proc": {nil, nil, 0, 0},
		"nonsense": {map[string]string{"proc/self/cgroup": "0::/a\nx", "proc/self/mountinfo": "1 2 - cgroup2\n- -\n"}, nil, 0, 0},
		"version 2, a slice's quota is the smaller": {map[string]string{
			"proc/self/cgroup": "0::/system.slice/surgegate.service\n", "proc/self/mountinfo": version2Mounts,
			"sys/fs/cgroup/system.slice/surgegate.service/cpu.max":  "400000 100000\n",
			"sys/fs/cgroup/system.slice/surgegate.service/cpu.stat": "usage_usec 5\nnr_periods 9\nnr_throttled 2\nthrottled_usec 1500000\n",
			"sys/fs/cgroup/system.slice/cpu.max":                    "150000 100000\n",
			"sys/fs/cgroup/system.slice/cpu.stat":                   "throttled_usec 500000\n",
			"sys/fs/cgroup/cpu.stat":                                "usage_usec 77\n",
		}, []string{"sys/fs/cgroup/system.slice/surgegate.service", "sys/fs/cgroup/system.slice", "sys/fs/cgroup"}, 1.5, 2 * time.Second},
		"version 2, in a container without a quota": {map[string]string{
			"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": version2Mounts,
			"sys/fs/cgroup/cpu.max": "max 100000\n", "sys/fs/cgroup/cpu.stat": "throttled_usec 0\n",
		}, []string{"sys/fs/cgroup"}, 0, 0},
		"version 2, moved out of what it sees": {map[string]string{
			"proc/self/cgroup": "0::/../other\n", "proc/self/mountinfo": version2Mounts, "sys/fs/cgroup/cpu.max": "50000 100000",
		}, []string{"sys/fs/cgroup"}, .5, 0},
		"version 1, in a container": {map[string]string{
			"proc/self/cgroup": version1Own, "proc/self/mountinfo": version1Mounts,
			"sys/fs/cgroup/cpu,cpuacct/worker/cpu.cfs_quota_us":  "-1\n",
			"sys/fs/cgroup/cpu,cpuacct/worker/cpu.cfs_period_us": "100000\n",
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us":         "30000\n",
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us":        "100000\n",
			"sys/fs/cgroup/cpu,cpuacct/cpu.stat":                 "nr_periods 55\nnr_throttled 14\nthrottled_time 991186787\n",
		}, []string{"sys/fs/cgroup/cpu,cpuacct/worker", "sys/fs/cgroup/cpu,cpuacct"}, .3, 991186787},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := findCgroups(machine(c.files))
			limit, ok := g.limit()
			if !slices.Equal(g.dirs, c.dirs) || ok != (c.limit != 0) || math.Abs(limit-c.limit) > 1e-9 || g.throttled() != c.throttled {
				t.Errorf("in %v: limit %v (%v), throttled %v", g.dirs, limit, ok, g.throttled())
			}
		})
	}
}

func TestParseQuota_TakesNonsenseForNone(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "max", "max 100000", "-1 100000", "0 100000", "100000 0", "1 2 3", "1e5 100000", "100000 -5",
		"99999999999999999999 100000"} {
		if got, ok := parseQuota(text); ok {
			t.Errorf("%q is %v processors", text, got)
		}
	}
}

func TestParseThrottled_TakesNonsenseForNone(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "throttled_usec", "throttled_usec x", "throttled_usec -4", "throttled_usecs 4", "4 throttled_usec"} {
		if got := parseThrottled(text); got != 0 {
			t.Errorf("%q is %v", text, got)
		}
	}
}

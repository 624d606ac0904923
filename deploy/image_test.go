package deploy_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// containerOutput collects what a container writes while a test reads it.
type containerOutput struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *containerOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *containerOutput) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// TestImage_RunsWithoutRights builds the image and runs it as a cluster would: not as root, nothing writable but the two volumes, no
// capability, and a memory limit, which surgegate finds.
func TestImage_RunsWithoutRights(t *testing.T) {
	t.Parallel()
	need(t, "podman", "buildah", "runc")
	if os.Getuid() != 0 {
		t.Skip("the test makes control groups: it needs root")
	}
	dir := t.TempDir()
	podman := func(args ...string) *exec.Cmd {
		return exec.Command("podman", append([]string{
			"--root", dir + "/storage", "--runroot", dir + "/run", "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs",
			"--events-backend", "none", "--runtime", "runc",
		}, args...)...)
	}
	must := func(args ...string) string {
		out, err := podman(args...).CombinedOutput()
		if err != nil {
			t.Fatalf("podman %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	run(t, nil, "./image", dir+"/image", programs(t))
	must("build", "--quiet", "--isolation", "chroot", "--tag", "surgegate:test", dir+"/image")
	web := freeAddress(t)
	settings := fmt.Sprintf(`{data_dir: /var/lib/surgegate, keys_dir: /var/lib/surgegate-keys,
listen: {grpc: "%s", operator: "%s", http: "%s"}, queue: {disk_reserve: 1MiB},
store: {sqlite: {path: /var/lib/surgegate/store.db, sample: true}}, mail: {maildir: {path: /var/lib/surgegate/mail}}}`,
		freeAddress(t), freeAddress(t), web)
	if err := os.MkdirAll(dir+"/etc", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/etc/surgegate.yaml", []byte(settings), 0o644); err != nil {
		t.Fatal(err)
	}
	var output containerOutput
	container := podman("run", "--rm", "--name", "surgegate", "--network", "host", "--read-only", "--read-only-tmpfs=false",
		"--cap-drop", "all", "--security-opt", "no-new-privileges", "--memory", "256m",
		"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096", "-v", dir+"/etc:/etc/surgegate:ro", "surgegate:test")
	container.Stdout, container.Stderr = &output, &output
	if err := container.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- container.Wait() }()
	t.Cleanup(func() { _ = podman("rm", "--force", "--volumes", "surgegate").Run() }) // it has ended unless the test has failed

	awaitReady(t, web, ended, &output)
	pid := must("inspect", "--format", "{{.State.Pid}}", "surgegate")
	status := readFile(t, filepath.Join("/proc", pid, "status"))
	for _, want := range []string{`(?m)^Uid:\t65532\t65532\t65532\t65532$`, `(?m)^CapEff:\t0+$`, `(?m)^CapBnd:\t0+$`, `(?m)^NoNewPrivs:\t1$`} {
		if !regexp.MustCompile(want).MatchString(status) {
			t.Errorf("the process is not %s:\n%s", want, status)
		}
	}
	if mounts := readFile(t, filepath.Join("/proc", pid, "mountinfo")); !regexp.MustCompile(`(?m)^\S+ \S+ \S+ \S+ / ro[, ]`).MatchString(mounts) {
		t.Errorf("the root is writable:\n%s", mounts)
	}
	if err := container.Process.Signal(syscall.SIGTERM); err != nil { // podman passes it on
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("%v\n%s", err, output.String())
	}
	for _, want := range []string{`memory_limit="?230 ?MiB"? memory_limit_from="90 % of the cgroup's limit"`, "ended: what is still in line is on disk"} {
		if !regexp.MustCompile(want).MatchString(output.String()) {
			t.Errorf("the log has no %s:\n%s", want, output.String())
		}
	}
}

// awaitReady asks /readyz until it says 200.
func awaitReady(t *testing.T, address string, ended <-chan error, output fmt.Stringer) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	patience := time.NewTimer(time.Minute)
	defer patience.Stop()
	for {
		if r, err := http.Get("http://" + address + "/readyz"); err == nil { // the test's own server
			_, _ = io.Copy(io.Discard, r.Body)
			_ = r.Body.Close() // it was only read
			if r.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-tick.C:
		case err := <-ended:
			t.Fatalf("the container has ended: %v\n%s", err, output)
		case <-patience.C:
			t.Fatalf("the container is not ready\n%s", output)
		}
	}
}

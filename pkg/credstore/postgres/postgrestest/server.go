package postgrestest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Superuser is the role that initdb makes; its password is Password over TCP, and none over the socket.
const (
	Superuser = "owner"
	Password  = "a test's password"
)

// ErrNotInstalled says that there is no PostgreSQL server on this machine, and how to get it.
var ErrNotInstalled = errors.New("postgrestest: PostgreSQL's initdb is not here: apt-get install postgresql")

// Config of a server. The zero value is usable.
type Config struct {
	// Durable keeps fsync on: for figures, not for tests.
	Durable bool
	// Settings are lines of postgresql.conf, such as max_connections: "20".
	Settings map[string]string
	// Files are put into the data folder for the server alone to read, such as server.key.
	Files map[string][]byte
}

// Server is one PostgreSQL server. Its methods are not safe for concurrent use.
type Server struct {
	bin, dir string
	port     int
	owner    *syscall.Credential // nil: the user of this process
	cmd      *exec.Cmd
	done     chan struct{} // closed when the process has ended
	log      *tail
}

// New makes a data folder and starts a server on it; about two seconds. The caller closes it.
func New(ctx context.Context, config Config) (_ *Server, err error) {
	s := &Server{}
	if s.bin, err = binaries(); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("", "surgegate-pg-"); err != nil { // short: a socket's path has 107 bytes
		return nil, fmt.Errorf("postgrestest: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(s.dir))
		}
	}()
	if s.owner, err = unprivileged(); err != nil {
		return nil, err
	}
	if s.owner != nil {
		if err := os.Chown(s.dir, int(s.owner.Uid), int(s.owner.Gid)); err != nil {
			return nil, fmt.Errorf("postgrestest: %w", err)
		}
	}
	passwords := filepath.Join(s.dir, "password")
	if err := os.WriteFile(passwords, []byte(Password), 0o644); err != nil { // a test's, read by another user
		return nil, fmt.Errorf("postgrestest: %w", err)
	}
	initdb := s.command(ctx, "initdb", "-D", s.data(), "-U", Superuser, "--pwfile", passwords, "--auth-local=trust",
		"--auth-host=scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("postgrestest: initdb: %w\n%s", err, out)
	}
	if err := s.configure(config); err != nil {
		return nil, err
	}
	for name, content := range config.Files {
		path := filepath.Join(s.data(), name)
		if err = os.WriteFile(path, content, 0o600); err == nil && s.owner != nil {
			err = os.Chown(path, int(s.owner.Uid), int(s.owner.Gid))
		}
		if err != nil {
			return nil, fmt.Errorf("postgrestest: %w", err)
		}
	}
	return s, s.Start(ctx)
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) configure(config Config) error {
	settings := map[string]string{
		"unix_socket_directories": s.dir, "listen_addresses": "127.0.0.1", "lc_messages": "C", "log_min_messages": "log",
		"fsync": "off", "max_connections": "100", "shared_buffers": "128MB", "logging_collector": "off",
	}
	if config.Durable {
		settings["fsync"] = "on"
	}
	for name, value := range config.Settings {
		settings[name] = value
	}
	var b strings.Builder
	for name, value := range settings {
		fmt.Fprintf(&b, "%s = '%s'\n", name, strings.ReplaceAll(value, "'", "''"))
	}
	f, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("postgrestest: %w", err)
	}
	_, err = f.WriteString(b.String())
	return errors.Join(err, f.Close())
}

// Start starts a server that is stopped or was killed, and waits until it takes connections. The port stays the same
// once it was had.
func (s *Server) Start(ctx context.Context) error {
	var err error
	for range 5 { // between finding a free port and taking it somebody else may
		port := s.port
		if port == 0 {
			if port, err = freePort(); err != nil {
				return err
			}
		}
		if err = s.start(ctx, port); err == nil {
			s.port = port
			return nil
		}
		if s.port != 0 || ctx.Err() != nil {
			break
		}
	}
	return err
}

func (s *Server) start(ctx context.Context, port int) error {
	cmd := s.command(context.WithoutCancel(ctx), "postgres", "-D", s.data(), "-p", strconv.Itoa(port))
	// With the thread that forked it, and so with this process, the server ends at once.
	cmd.SysProcAttr.Pdeathsig = syscall.SIGQUIT
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return fmt.Errorf("postgrestest: %w", err)
	}
	log := &tail{ready: make(chan struct{})}
	started, done := make(chan error, 1), make(chan struct{})
	go func() { // ends with the process, which Stop, Kill or Close ends
		defer close(done)
		runtime.LockOSThread() // the thread must live as long as the server: see Pdeathsig
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			log.read(stderr)
			_ = cmd.Wait() // how it ended is asked for, or in its log
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("postgrestest: %w", err)
	}
	select {
	case <-log.ready:
		s.cmd, s.done, s.log = cmd, done, log
		return nil
	case <-done:
		return fmt.Errorf("postgrestest: the server ended at its start:\n%s", log)
	case <-ctx.Done():
		_ = cmd.Process.Signal(syscall.SIGQUIT)
		<-done
		return ctx.Err()
	}
}

func (s *Server) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, program), args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"} // no PG variables of whoever runs the test
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner}
	return cmd
}

// Stop ends the server as an administrator does: connections are told (57P01), data is written out.
func (s *Server) Stop() { s.end(syscall.SIGINT) }

// Kill ends the server and all its processes with SIGKILL: nothing is told, nothing is written out.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	for _, pid := range s.Pids() {
		_ = syscall.Kill(pid, syscall.SIGKILL) // gone already is as good
	}
	<-s.done
	s.cmd = nil
}

// Pids are the processes of a server that runs, the first one first.
func (s *Server) Pids() []int {
	return append([]int{s.cmd.Process.Pid}, children(s.cmd.Process.Pid)...)
}

// Close ends the server and removes its data.
func (s *Server) Close() error {
	s.end(syscall.SIGQUIT)
	return os.RemoveAll(s.dir)
}

func (s *Server) end(signal syscall.Signal) {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(signal) // ended already is as good
	<-s.done
	s.cmd = nil
}

// URL leads a role to a database over TCP, without a password.
func (s *Server) URL(role, database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(role), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)), Path: "/" + database}
	return u.String() + "?sslmode=disable"
}

// SocketURL leads a role to a database over the Unix socket, where every role is trusted.
func (s *Server) SocketURL(role, database string) string {
	q := url.Values{"host": {s.dir}, "port": {strconv.Itoa(s.port)}}
	u := url.URL{Scheme: "postgres", User: url.User(role), Path: "/" + database, RawQuery: q.Encode()}
	return u.String()
}

// Log returns the end of what the server has logged since its last start.
func (s *Server) Log() string { return s.log.String() }

// ProcessorTime is what the server's processes have used since its last start, those that have ended included; in steps
// of 10 ms. The difference of two calls is the price of what ran between, whatever else the machine was busy with.
func (s *Server) ProcessorTime() time.Duration {
	var ticks int64
	for i, pid := range s.Pids() {
		f := stat(pid)
		// utime and stime in ticks of 1/100 s, and for the first process those of its children that have ended: proc(5)'s
		// fields 14 to 17, counted from the one after the name.
		for n := 11; n <= 14 && n < len(f) && (i == 0 || n <= 12); n++ {
			v, _ := strconv.ParseInt(f[n], 10, 64)
			ticks += v
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// stat is /proc's line of a process from its state on; nil where there is none.
func stat(pid int) []string {
	line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return nil
	}
	_, rest, _ := strings.Cut(string(line), ") ") // the name may hold spaces
	return strings.Fields(rest)
}

// children reads /proc: the server's processes have sessions of their own, so no group leads to them.
func children(pid int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []int
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if f := stat(child); len(f) > 1 && f[1] == strconv.Itoa(pid) {
			out = append(out, child)
		}
	}
	return out
}

func binaries() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), nil
		}
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", ErrNotInstalled
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(strings.Split(path, "/")[4])
		return n
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })), nil
}

func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("postgrestest: neither postgres nor nobody is a user here, and PostgreSQL refuses to run as root")
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("postgrestest: %w", err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}

// tail keeps the end of a log and tells when the server is ready.
type tail struct {
	ready chan struct{}
	mu    sync.Mutex
	lines []string
}

const tailLines = 200

func (t *tail) read(r io.Reader) {
	waiting := true
	scan := bufio.NewScanner(r)
	scan.Buffer(nil, 1<<20)
	defer func() { _, _ = io.Copy(io.Discard, r) }() // past a longer line: a full pipe would stop the server
	for scan.Scan() {
		t.mu.Lock()
		t.lines = append(t.lines, scan.Text())
		t.lines = t.lines[max(0, len(t.lines)-tailLines):]
		t.mu.Unlock()
		if waiting && strings.Contains(scan.Text(), "database system is ready to accept connections") {
			close(t.ready)
			waiting = false
		}
	}
}

// String returns the lines.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.lines, "\n")
}

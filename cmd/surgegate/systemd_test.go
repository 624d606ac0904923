package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// The service manager learns that the start is over, that the process works, and that it drains.
func TestServe_TellsTheServiceManager(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	socket := filepath.Join(dir, "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = manager.Close() }()
	if err := manager.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	child := &exec.Cmd{Path: os.Args[0], Args: []string{"surgegate", "serve"}, Dir: dir, Env: append(os.Environ(),
		"NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=100000",
		"SURGEGATE_LISTEN_GRPC=127.0.0.1:0", "SURGEGATE_LISTEN_OPERATOR=127.0.0.1:0", "SURGEGATE_LISTEN_HTTP=127.0.0.1:0")}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill() }() // it has ended unless the test has failed
	ready, alive := false, 0
	for text := make([]byte, 64); ; {
		n, err := manager.Read(text)
		if err != nil {
			t.Fatalf("ready: %v, %d times alive: %v", ready, alive, err)
		}
		switch string(text[:n]) {
		case "READY=1":
			ready = true
		case "WATCHDOG=1":
			alive++
		case "STOPPING=1":
			if err := child.Wait(); err != nil || !ready || alive < 2 {
				t.Errorf("ready: %v, %d times alive, exit: %v", ready, alive, err)
			}
			return
		}
		if ready && alive == 2 {
			if err := child.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}
	}
}

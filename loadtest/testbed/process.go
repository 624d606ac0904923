package testbed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
)

// Process is a server started for a measurement.
type Process struct {
	// Address is where it listens.
	Address string
	cmd     *exec.Cmd
	output  buffer
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// startTimeout bounds the start of a server.
const startTimeout = 30 * time.Second

// Start runs a program and returns once it listens on address.
func Start(ctx context.Context, c clock.Clock, address, name string, args ...string) (*Process, error) {
	p := &Process{cmd: exec.CommandContext(ctx, name, args...), Address: address}
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	deadline := c.Now().Add(startTimeout)
	for {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
		if err == nil {
			return p, conn.Close()
		}
		if c.Now().After(deadline) || c.Sleep(ctx, 20*time.Millisecond) != nil {
			p.Stop()
			return nil, fmt.Errorf("%s does not listen on %s: %s", name, address, p.Output())
		}
	}
}

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Output returns what the process wrote so far.
func (p *Process) Output() string { return p.output.String() }

// Stop asks the process to end and waits until it has ended.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	_ = p.cmd.Wait()
}

// Kill ends the process at once, for a server that would finish its work first.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	_ = p.cmd.Wait()
}

// ProcessorTime returns the processor time that the process has used so far, from /proc; 0 where there is none.
func (p *Process) ProcessorTime() time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	// Fields 14 and 15, utime and stime in ticks of 1/100 s (proc(5)); the name in field 2 ends with ")".
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	var ticks int64
	for i := 11; i <= 12 && i < len(fields); i++ {
		n, _ := strconv.ParseInt(fields[i], 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// FreeAddress returns a loopback address that was free a moment ago.
func FreeAddress() (string, error) {
	all, err := FreeAddresses(1)
	if err != nil {
		return "", err
	}
	return all[0], nil
}

// FreeAddresses returns n different loopback addresses that were free a moment ago.
func FreeAddresses(n int) (all []string, err error) {
	for range n {
		l, listenErr := net.Listen("tcp", "127.0.0.1:0")
		if listenErr != nil {
			return nil, errors.Join(err, fmt.Errorf("testbed: %w", listenErr))
		}
		defer func() { err = errors.Join(err, l.Close()) }() // all are held until the last is found
		all = append(all, l.Addr().String())
	}
	return all, nil
}

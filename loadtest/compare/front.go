package compare

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/surgegate/surgegate/loadtest/testbed"
	"github.com/surgegate/surgegate/loadtest/victim"
)

const (
	startTimeout = 20 * time.Second
	stopTimeout  = 40 * time.Second
	// connections that people's calls are spread over, as the web servers of a site would be
	connections = 16
	baseURL     = "https://reset.example.com"
)

// front is the process that serves PasswordReset in one arm, and the one after it where a fault kills it.
type front struct {
	name, logPath, address string
	command                []string
	log                    *os.File

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has ended
	end    error         // how
}

// places are where an arm's parts meet.
type places struct {
	dir, store    string
	maildir, smtp string // one of them
	reserve       int64  // bytes of disk at which a gateway stops accepting
}

func startFront(ctx context.Context, cfg Config, arm Arm, at places) (*front, error) {
	address, err := testbed.FreeAddress()
	if err != nil {
		return nil, err
	}
	f := &front{name: arm.Name, address: address, logPath: filepath.Join(at.dir, arm.Name+".log")}
	if arm.Front == Surgegate {
		path, err := writeConfig(address, at, arm.Overlay)
		if err != nil {
			return nil, err
		}
		f.command = []string{cfg.Surgegate, "serve", "--config", path}
	} else {
		arg, err := json.Marshal(victim.DirectConfig{Address: address, Store: at.store, Maildir: at.maildir, SMTP: at.smtp, BaseURL: baseURL})
		if err != nil {
			return nil, fmt.Errorf("compare: %w", err)
		}
		f.command = []string{cfg.Storm, "direct", "--json", string(arg)}
	}
	if f.log, err = os.Create(f.logPath); err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	if err := f.start(); err != nil {
		return nil, errors.Join(err, f.log.Close())
	}
	if err := f.ready(ctx); err != nil {
		return nil, errors.Join(err, f.stop())
	}
	return f, nil
}

func (f *front) start() error {
	cmd := exec.Command(f.command[0], f.command[1:]...) //nolint:noctx // stopped with SIGTERM, so that it can drain
	cmd.Stdout, cmd.Stderr = f.log, f.log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("compare: %w", err)
	}
	exited := make(chan struct{})
	f.mu.Lock()
	f.cmd, f.exited, f.end = cmd, exited, nil
	f.mu.Unlock()
	go func() { // ends with the process, which stop and kill wait for
		end := cmd.Wait()
		f.mu.Lock()
		f.end = end
		f.mu.Unlock()
		close(exited)
	}()
	return nil
}

// process is the one of now.
func (f *front) process() (*exec.Cmd, chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cmd, f.exited
}

// kill ends the process as a power cut would, and starts it again.
func (f *front) kill(context.Context) error {
	cmd, exited := f.process()
	if err := cmd.Process.Kill(); err != nil {
		return fmt.Errorf("compare: %s: %w", f.name, err)
	}
	<-exited
	return f.start()
}

// ready waits until the front says that it serves.
func (f *front) ready(ctx context.Context) error {
	conn, err := grpc.NewClient(f.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("compare: %w", err)
	}
	defer conn.Close() //nolint:errcheck // nothing is under way on it
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	_, exited := f.process()
	go func() { // ends when ready does
		select {
		case <-exited:
			cancel()
		case <-stop:
		}
	}()
	for {
		resp, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true))
		if err == nil && resp.GetStatus() == grpc_health_v1.HealthCheckResponse_SERVING {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("compare: %s did not come up within %v; its log %s ends with:\n%s", f.name, startTimeout, f.logPath, tail(f.logPath))
		}
	}
}

// stop drains and ends the process. An end that is not clean is an error.
func (f *front) stop() error {
	cmd, exited := f.process()
	select {
	case <-exited:
		return errors.Join(fmt.Errorf("compare: %s ended by itself (%s); its log is %s", f.name, cmd.ProcessState, f.logPath), f.log.Close())
	default:
	}
	err := cmd.Process.Signal(syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	select {
	case <-exited:
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.end != nil {
			err = errors.Join(err, fmt.Errorf("compare: %s did not end cleanly: %w; its log is %s", f.name, f.end, f.logPath))
		}
	case <-ctx.Done():
		err = errors.Join(err, fmt.Errorf("compare: %s did not end within %v of SIGTERM and was killed", f.name, stopTimeout), cmd.Process.Kill())
		<-exited
	}
	return errors.Join(err, f.log.Close())
}

func tail(path string) []byte {
	data, err := os.ReadFile(path)
	if err != nil {
		return []byte(err.Error())
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-10):], []byte("\n"))
}

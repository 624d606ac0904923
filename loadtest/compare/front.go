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
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/surgegate/surgegate/loadtest/direct"
	"github.com/surgegate/surgegate/loadtest/victim"
)

const (
	startTimeout = 20 * time.Second
	stopTimeout  = 40 * time.Second
	// connections that people's calls are spread over, as the web servers of a site would be
	connections = 16
	baseURL     = "https://reset.example.com"
)

// front is the process that serves PasswordReset in one arm.
type front struct {
	name    string
	logPath string
	cmd     *exec.Cmd
	log     *os.File
	exited  chan struct{}
	exitErr error
	address string
}

func startFront(ctx context.Context, cfg Config, arm Arm, dir, store, maildir string) (*front, error) {
	address, err := victim.FreeAddress()
	if err != nil {
		return nil, err
	}
	var cmd *exec.Cmd
	if arm.Front == Surgegate {
		path, err := writeConfig(dir, address, store, maildir, arm.Overlay)
		if err != nil {
			return nil, err
		}
		cmd = exec.Command(cfg.Surgegate, "serve", "--config", path) //nolint:noctx // stopped with SIGTERM, so that it can drain
	} else {
		arg, err := json.Marshal(direct.Config{Address: address, Store: store, Maildir: maildir, BaseURL: baseURL})
		if err != nil {
			return nil, fmt.Errorf("compare: %w", err)
		}
		cmd = exec.Command(cfg.Storm, "direct", "--json", string(arg)) //nolint:noctx // as above
	}
	f := &front{name: arm.Name, address: address, cmd: cmd, logPath: filepath.Join(dir, arm.Name+".log"), exited: make(chan struct{})}
	if f.log, err = os.Create(f.logPath); err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	cmd.Stdout, cmd.Stderr = f.log, f.log
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("compare: %w", err), f.log.Close())
	}
	go func() { // ends with the process, which stop waits for
		f.exitErr = cmd.Wait()
		close(f.exited)
	}()
	if err := f.ready(ctx); err != nil {
		return nil, errors.Join(err, f.stop())
	}
	return f, nil
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
	go func() { // ends when ready does
		select {
		case <-f.exited:
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

// alive tells whether the process still runs.
func (f *front) alive() bool {
	select {
	case <-f.exited:
		return false
	default:
		return true
	}
}

// stop drains and ends the process. An end that is not clean is an error.
func (f *front) stop() error {
	if !f.alive() {
		return errors.Join(fmt.Errorf("compare: %s ended by itself (%s); its log is %s", f.name, f.cmd.ProcessState, f.logPath), f.log.Close())
	}
	err := f.cmd.Process.Signal(syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	select {
	case <-f.exited:
		if f.exitErr != nil {
			err = errors.Join(err, fmt.Errorf("compare: %s did not end cleanly: %w; its log is %s", f.name, f.exitErr, f.logPath))
		}
	case <-ctx.Done():
		err = errors.Join(err, fmt.Errorf("compare: %s did not end within %v of SIGTERM and was killed", f.name, stopTimeout), f.cmd.Process.Kill())
		<-f.exited
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

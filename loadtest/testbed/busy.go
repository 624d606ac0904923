package testbed

import (
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"time"
)

// AnyCore lets busy loops run on every core.
const AnyCore = -1

// Busy is a number of loops that use processor time beside a measurement. Make it with StartBusy and Stop it.
type Busy struct{ loops []*exec.Cmd }

// StartBusy starts n processes that do nothing but use a core, all of them pinned to one core, or on AnyCore. Each ends by
// itself once it has used the limit of processor time, so that none outlives its measurement by more than that.
func StartBusy(n, core int, limit time.Duration) (*Busy, error) {
	script := fmt.Sprintf("ulimit -t %d; while :; do :; done", int(limit.Seconds())+1)
	b := &Busy{}
	for range n {
		command := Pinned(core, "sh", "-c", script)
		loop := exec.Command(command[0], command[1:]...) //nolint:noctx // ended by Stop, and by the limit
		if err := loop.Start(); err != nil {
			return nil, errors.Join(fmt.Errorf("testbed: a busy loop: %w", err), b.Stop())
		}
		b.loops = append(b.loops, loop)
	}
	return b, nil
}

// Stop ends the loops and waits for them.
func (b *Busy) Stop() (err error) {
	for _, loop := range b.loops {
		_ = loop.Process.Kill() // one that has used its limit has ended
		if e := loop.Wait(); e != nil && loop.ProcessState == nil {
			err = errors.Join(err, fmt.Errorf("testbed: a busy loop: %w", e))
		}
	}
	b.loops = nil
	return err
}

// Pinned is a command that runs on one core alone, by taskset; or, on AnyCore, as it is.
func Pinned(core int, command ...string) []string {
	if core == AnyCore {
		return command
	}
	return append([]string{"taskset", "-c", strconv.Itoa(core)}, command...)
}

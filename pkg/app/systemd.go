package app

import (
	"context"
	"net"
	"os"
	"strconv"
	"time"
)

// What the service manager is told (sd_notify(3)).
const (
	notifyReady    = "READY=1"
	notifyStopping = "STOPPING=1"
	notifyAlive    = "WATCHDOG=1"
)

// notifySystemd tells the service manager of the state. Without NOTIFY_SOCKET there is none. A manager that does not hear it acts by
// its own time-outs, so an error is only logged.
func (a *App) notifySystemd(state string) {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err == nil {
		_, err = conn.Write([]byte(state))
		_ = conn.Close() // what was written is with the receiver
	}
	if err != nil {
		a.log.Warn("the service manager cannot be told", "state", state, "error", err.Error())
	}
}

// feedWatchdog tells the service manager twice in its WatchdogSec that the process works, until ctx ends. It does so only while the
// queue answers: a process whose queue hangs is killed and started again.
func (a *App) feedWatchdog(ctx context.Context) {
	microseconds, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || microseconds <= 0 {
		return // nobody watches
	}
	every := time.Duration(microseconds) * time.Microsecond / 2
	for a.clock.Sleep(ctx, every) == nil {
		if _, err := a.queue.Stats(ctx); err == nil {
			a.notifySystemd(notifyAlive)
		}
	}
}

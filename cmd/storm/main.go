// Command storm is the load tester's tool: a store that falls over, a naive front before it, and the demo that compares
// that front with surgegate.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/surgegate/surgegate/loadtest/compare"
	"github.com/surgegate/surgegate/loadtest/rehearse"
)

// Exit codes beside 0 and 1.
const (
	exitInvalid = 3  // the load generator was late: the run says nothing
	exitBroken  = 99 // a threshold was broken: surgegate did not keep a promise
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := root().ExecuteContext(ctx)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "storm:", err)
	stop()
	os.Exit(exitCode(err)) //nolint:gocritic // stop has been called
}

func exitCode(err error) int {
	switch {
	case errors.Is(err, compare.ErrBroken), errors.Is(err, compare.ErrThreshold), errors.Is(err, rehearse.ErrThreshold):
		return exitBroken
	case errors.Is(err, compare.ErrInvalid), errors.Is(err, rehearse.ErrInvalid):
		return exitInvalid
	default:
		return 1
	}
}

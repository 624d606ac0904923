package app_test

import (
	"errors"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/surgegate/surgegate/pkg/credstore"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// TestAWriteThatFailsEndsTheProcessAndLosesNothing makes the kernel fail the queue's next write to its log: the running
// process may no longer make files longer. Nothing is acknowledged after that, the process ends with code 1, and the
// next start has every ticket that was acknowledged before.
func TestAWriteThatFailsEndsTheProcessAndLosesNothing(t *testing.T) {
	t.Parallel()
	_, yaml := newLedger(t, credstore.FormPlaintext, 1)
	g := newGateway(t, yaml, generous)
	g.start()
	api := g.reset()
	var tickets []string
	start := func(i int) error {
		r, err := api.StartReset(t.Context(), &resetv1.StartResetRequest{Identifier: address(i), Client: person})
		if err == nil {
			tickets = append(tickets, r.GetTicket().GetId())
		}
		return err
	}
	for i := range 50 {
		if err := start(i); err != nil {
			t.Fatal(err)
		}
	}
	g.mu.Lock()
	cmd := g.cmd
	g.cmd = nil
	g.mu.Unlock()
	if err := unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 0, Max: 0}, nil); err != nil {
		t.Fatal(err)
	}
	acknowledged := len(tickets)
	for i := 50; start(i) == nil; i++ {
		if i > 5000 {
			t.Fatal("writes go on: the test has shown nothing")
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 {
			t.Fatalf("the process ended with %v, want exit code 1\n%s", err, g.output())
		}
	case <-time.After(30 * time.Second):
		_ = cmd.Process.Kill()
		t.Fatalf("the process goes on\n%s", g.output())
	}
	g.start()
	for _, id := range tickets {
		final(t, g, g.reset(), id)
	}
	t.Logf("%d tickets before the fault, %d acknowledged in all, all there", acknowledged, len(tickets))
}

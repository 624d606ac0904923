package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// stuck is a program whose drain does not end.
func stuck() {
	ctx, stop := untilSignal()
	defer stop()
	fmt.Println("serving")
	<-ctx.Done()
	fmt.Println("draining")
	<-time.NewTimer(time.Minute).C
}

func TestSecondSignalEndsTheProcess(t *testing.T) {
	t.Parallel()
	child := &exec.Cmd{Path: os.Args[0], Args: []string{"stuck"}} // TestMain goes by the name
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"serving", "draining"} {
		var line string
		if _, err := fmt.Fscanln(out, &line); err != nil || line != want {
			t.Fatalf("%q instead of %s, %v", line, want, err)
		}
		_ = child.Process.Signal(syscall.SIGTERM)
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	// The handler goes a moment after the context has ended, so the parent sends until it is heard.
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	patience := time.NewTimer(20 * time.Second)
	defer patience.Stop()
	for {
		select {
		case err := <-ended:
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
				t.Errorf("ended by %v, not by the signal", err)
			}
			return
		case <-again.C:
			_ = child.Process.Signal(syscall.SIGTERM)
		case <-patience.C:
			_ = child.Process.Kill()
			t.Fatal("the second signal does not end it")
		}
	}
}

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/surgegate/surgegate/pkg/app"
	"github.com/surgegate/surgegate/pkg/config"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"surgectl":  func() { os.Exit(run()) },
		"surgegate": serve,
	})
}

// serve is a real surgegate for surgectl to talk to.
func serve() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	c, err := config.Load("", os.Environ())
	if err == nil {
		err = app.Run(ctx, app.Options{Config: c, Output: os.Stderr})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:gocritic // the process ends: nothing to stop
	}
}

// TestScripts runs surgectl as an operator would.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			for _, name := range []string{"GRPC", "OPERATOR", "HTTP"} {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					return err
				}
				e.Setenv("SURGEGATE_LISTEN_"+name, l.Addr().String())
				if err := l.Close(); err != nil {
					return err
				}
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// answers waits until surgectl gets an answer from the address.
			"answers": func(ts *testscript.TestScript, _ bool, args []string) {
				for range 200 {
					if ts.Exec("surgectl", "--address", args[0], "status") == nil {
						return
					}
				}
				ts.Fatalf("no answer from %s", args[0])
			},
		},
	})
}

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/surgegate/surgegate/cmd/surgectl/internal/operatortest"
	"github.com/surgegate/surgegate/pkg/app"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/config"
	"github.com/surgegate/surgegate/pkg/diagnosis/scene"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"surgectl":  func() { os.Exit(run()) },
		"surgegate": serve,
		"operator":  operator,
	})
}

// serve is a real surgegate for surgectl to talk to.
func serve() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	file := ""
	if len(os.Args) > 1 {
		file = os.Args[1]
	}
	c, err := config.Load(file, os.Environ())
	if err == nil {
		o := app.Options{Config: c, Output: os.Stderr}
		if file != "" {
			o.Reload = func() (config.Config, error) { return config.Load(file, os.Environ()) }
		}
		err = app.Run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) // the process ends: nothing to stop
	}
}

// operator SCENE ADDRESS [TOKEN] is an operator listener with a scene behind it, until it is interrupted.
func operator() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	o := operatortest.New(scene.All()[os.Args[1]])
	if len(os.Args) > 3 {
		o.Token = os.Args[3]
	}
	if _, err := o.Serve(os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) // the process ends: nothing to stop
	}
	<-ctx.Done()
	o.Stop()
}

// TestScripts runs surgectl as an operator would.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			for _, name := range []string{"GRPC", "OPERATOR", "HTTP"} {
				address, err := freeAddress()
				if err != nil {
					return err
				}
				e.Setenv("SURGEGATE_LISTEN_"+name, address)
			}
			e.Setenv("SURGECTL_ADDRESS", e.Getenv("SURGEGATE_LISTEN_OPERATOR"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// answers waits until surgectl gets an answer from the address.
			"answers": func(ts *testscript.TestScript, _ bool, args []string) {
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				defer cancel()
				for (clock.System{}).Sleep(ctx, 20*time.Millisecond) == nil {
					c, err := net.Dial("tcp", ts.Getenv("SURGECTL_ADDRESS"))
					if err != nil {
						continue
					}
					ts.Check(c.Close())
					ts.Check(ts.Exec("surgectl", append([]string{"status"}, args...)...))
					return
				}
				ts.Fatalf("nobody listens")
			},
			// code CODE COMMAND… wants that exit code.
			"code": func(ts *testscript.TestScript, _ bool, args []string) {
				got := "exit status 0"
				if err := ts.Exec(args[1], args[2:]...); err != nil {
					got = err.Error()
				}
				if got != "exit status "+args[0] {
					ts.Fatalf("%s: %s, want exit code %s", strings.Join(args[1:], " "), got, args[0])
				}
			},
		},
	})
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func TestWhatIsNoTextIsNamedAndNotSent(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"ticket", "\xff"},
		{"lanes", "pause", "mail", "--yes", "--reason", "\xff"},
	} {
		root := newRoot(&options{}, func(string) string { return "" })
		root.SetArgs(args)
		if err := root.Execute(); err == nil || !strings.Contains(err.Error(), `"\xff" is no UTF-8: type it by hand`) {
			t.Errorf("%q: %v", args, err)
		}
	}
}

package main

import (
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"surgegate": func() { os.Exit(run()) }, "stuck": stuck})
}

// TestScripts runs the commands as a person would; each script is one story.
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
			// listens ADDRESS waits until somebody listens there.
			"listens": func(ts *testscript.TestScript, _ bool, args []string) {
				for range 3000 {
					c, err := (&net.Dialer{}).Dial("tcp", args[0])
					if err == nil {
						_ = c.Close()
						return
					}
					pause()
				}
				ts.Fatalf("nobody listens on %s", args[0])
			},
			// hangup sends SIGHUP to what runs in the background.
			"hangup": func(ts *testscript.TestScript, _ bool, _ []string) {
				for _, c := range ts.BackgroundCmds() {
					ts.Check(c.Process.Signal(syscall.SIGHUP))
				}
			},
			// metric ADDRESS LINE waits until /metrics there has the line.
			"metric": func(ts *testscript.TestScript, _ bool, args []string) {
				for range 3000 {
					if strings.Contains(get("http://"+args[0]+"/metrics"), "\n"+args[1]+"\n") {
						return
					}
					pause()
				}
				ts.Fatalf("%s never has %s", args[0], args[1])
			},
		},
	})
}

func get(url string) string {
	r, err := http.Get(url) // the test's own server
	if err != nil {
		return ""
	}
	defer func() { _ = r.Body.Close() }() // it was only read
	text, _ := io.ReadAll(r.Body)         // a part of it lacks the line
	return string(text)
}

// pause is a few milliseconds without a timer: a round trip over loopback to a port that nobody listens on.
func pause() {
	for range 50 {
		if c, err := net.Dial("tcp", "127.0.0.1:1"); err == nil {
			_ = c.Close()
		}
	}
}

package app_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/surgegate/surgegate/pkg/credstore"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// withFiles runs what follows it with so many open files at the most.
func withFiles(limit int) []string {
	return []string{"/bin/sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0"`, limit)}
}

// Callers that hold as many connections as they get leave the queue the files that it needs.
func TestConnectionsLeaveFilesForTheQueue(t *testing.T) {
	t.Parallel()
	const limit = 512
	_, store := newLedger(t, credstore.FormPlaintext, 1)
	g := newGateway(t, store, generous)
	g.program = append(withFiles(limit), os.Args[0])
	g.start()
	if !strings.Contains(g.output(), "server.max_connections is more than the limit of open files allows") {
		t.Errorf("nothing was said:\n%s", g.output())
	}
	api := g.reset()
	ask := func(n int) error {
		_, err := api.StartReset(t.Context(), &resetv1.StartResetRequest{Identifier: address(n), Client: &resetv1.Client{Ip: "192.0.2.1"}})
		return err
	}
	if err := ask(0); err != nil {
		t.Fatal(err)
	}
	taken := 0
	for range limit {
		c, err := net.Dial("tcp", g.grpc)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		// The handshake of a connection that will idle; to one that is being refused it may fail.
		_, _ = io.WriteString(c, http2.ClientPreface)
		_ = http2.NewFramer(c, nil).WriteSettings()
		if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, _ := c.Read(make([]byte, 1)); n == 1 { // the server's own handshake
			taken++
		}
	}
	// Of 512 files 256 are the program's own and 128 the tables'; one connection is ask's.
	if taken < 64 || taken > 127 {
		t.Errorf("%d connections were taken", taken)
	}
	if err := ask(1); err != nil {
		t.Errorf("who was there before is served: %v", err)
	}
}

func TestTooFewFilesStopTheStart(t *testing.T) {
	t.Parallel()
	_, store := newLedger(t, credstore.FormPlaintext, 0)
	g := newGateway(t, store, "")
	if out := startAndFail(t, g.configFile(), withFiles(200)...); !strings.Contains(out, "the limit of open files is 200: raise it to 512 or more") {
		t.Error(out)
	}
}

// A second process with a queue of its own would take links that this one has seen used.
func TestTwoProcessesDoNotShareKeys(t *testing.T) {
	t.Parallel()
	_, store := newLedger(t, credstore.FormPlaintext, 0)
	first, second := newGateway(t, store, ""), newGateway(t, store, "")
	first.start()
	keys := filepath.Join(first.dir, "keys")
	text, err := os.ReadFile(second.configFile())
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.Replace(string(text), filepath.Join(second.dir, "keys"), keys, 1))
	if err := os.WriteFile(second.configFile(), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if out := startAndFail(t, second.configFile()); !strings.Contains(out, "another process uses the keys in "+keys) {
		t.Error(out)
	}
	if code := first.terminate(); code != 0 {
		t.Errorf("exit code %d\n%s", code, first.output())
	}
}

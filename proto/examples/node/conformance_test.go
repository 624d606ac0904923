//go:build node

// The suite of pkg/credstore/credstoretest against the JavaScript backend: `make example`.
package node_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/credstore/credstoretest"
	"github.com/surgegate/surgegate/pkg/credstore/grpcstore"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	credstoretest.Run(t, func(t *testing.T) credstoretest.Fixture {
		ports := startNode(t)
		store, err := grpcstore.New(grpcstore.Config{Address: fmt.Sprintf("127.0.0.1:%d", ports.GRPC), Insecure: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
		door := backDoor(fmt.Sprintf("http://127.0.0.1:%d/", ports.HTTP))
		return credstoretest.Fixture{
			Store:      store,
			SharesHash: true,
			AddAccount: func(ctx context.Context, login string, a credstore.Account) error {
				return door.call(ctx, "account", map[string]any{"id": a.ID, "login": login, "address": a.Address, "locale": a.Locale,
					"hash": a.CurrentHash.Reveal(), "not_resettable": a.NotResettable}, nil)
			},
			Password: func(ctx context.Context, id string) (password string, err error) {
				err = door.call(ctx, "password", map[string]any{"id": id}, &password)
				return password, err
			},
			BeginSession: func(ctx context.Context, id string, begun time.Time) error {
				return door.call(ctx, "session", map[string]any{"id": id, "begun": fmt.Sprint(begun.UnixMicro())}, nil)
			},
			Sessions: func(ctx context.Context, id string) (n int, err error) {
				err = door.call(ctx, "sessions", map[string]any{"id": id}, &n)
				return n, err
			},
		}
	})
}

type nodePorts struct{ GRPC, HTTP int }

// startNode runs conformance.js for as long as the test.
func startNode(t *testing.T) (ports nodePorts) {
	t.Helper()
	node := exec.Command("node", "conformance.js", t.TempDir())
	node.Stderr = os.Stderr
	stdin, err := node.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := node.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stdin.Close(); err != nil {
			t.Error(err)
		}
		if err := node.Wait(); err != nil {
			t.Errorf("node: %v", err)
		}
	})
	if err := json.NewDecoder(stdout).Decode(&ports); err != nil {
		t.Fatalf("node said nothing about its ports: %v", err)
	}
	return ports
}

// backDoor is the address of conformance.js's HTTP server.
type backDoor string

func (d backDoor) call(ctx context.Context, what string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, string(d)+what, bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", what, text)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

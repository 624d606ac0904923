package app_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/stormlog"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// A reset that went through the real program is in the trace, without a word of whose it was: after SIGTERM all of it, after
// SIGKILL what had been flushed.
func TestARecordedReset(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*gateway){
		"SIGTERM": func(g *gateway) {
			if code := g.terminate(); code != 0 {
				t.Errorf("exit %d\n%s", code, g.output())
			}
		},
		"SIGKILL": func(g *gateway) {
			g.await("a flush", func(context.Context) error {
				if list, _ := recorded(t, g.record); len(list) < 4 {
					return errors.New("not yet")
				}
				return nil
			})
			g.kill()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, storeYAML := newLedger(t, credstore.FormPlaintext, 1)
			g := newGateway(t, storeYAML, generous)
			g.record = filepath.Join(t.TempDir(), "trace.zst")
			g.start()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			token := ask(t, g, g.mails(), address(0))
			api := g.reset()
			if _, err := api.CheckToken(ctx, &resetv1.CheckTokenRequest{Token: token, Client: person}); err != nil {
				t.Fatal(err)
			}
			const password = "a canary of a password"
			done, err := api.CompleteReset(ctx, &resetv1.CompleteResetRequest{Token: token, NewPassword: password, Client: person, Wait: wait(20 * time.Second)})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := api.GetTicket(ctx, &resetv1.GetTicketRequest{TicketId: done.GetTicket().GetId()}); err != nil {
				t.Fatal(err)
			}
			end(g)
			list, text := recorded(t, g.record)
			if len(list) != 4 {
				t.Fatalf("%d events:\n%s", len(list), text)
			}
			for i, want := range []stormlog.Op{stormlog.OpStart, stormlog.OpCheck, stormlog.OpComplete, stormlog.OpTicket} {
				cause := stormlog.Endogenous
				if i == 0 {
					cause = stormlog.Exogenous
				}
				if e := list[i]; e.Op != want || e.Cause != cause || e.Deadline <= 0 || e.Deadline > 30*time.Second {
					t.Errorf("event %d: %+v", i, e)
				}
			}
			if list[1].U != list[2].U || list[0].U == list[1].U {
				t.Errorf("people %d, %d, %d", list[0].U, list[1].U, list[2].U)
			}
			for _, secret := range []string{address(0), accountID(0), token, password, person.GetIp(), done.GetTicket().GetId()} {
				if strings.Contains(text, secret) {
					t.Errorf("%q is in the trace", secret)
				}
			}
		})
	}
}

// recorded is what can be read of a trace, as events and as text.
func recorded(t *testing.T, path string) (list []stormlog.Event, text string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, ""
	}
	plain, err := zstd.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	all, _ := io.ReadAll(plain) // up to where it was cut off
	r, err := stormlog.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, string(all)
	}
	defer r.Close() //nolint:errcheck // nothing to close
	for {
		e, err := r.Next()
		if err != nil {
			return list, string(all)
		}
		list = append(list, e)
	}
}

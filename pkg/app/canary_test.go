package app_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/prototext"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/tracing/otlp/otlptest"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// TestTheCanaryIsNowhere: after a storm in which every password holds a canary, with the log at debug level, a kill -9
// in the middle and a crash dump at the end, no file of the data directory, no log, metric, ticket or dump holds it,
// nor an identifier, an account id or a token (SECURITY.md 19).
func TestTheCanaryIsNowhere(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		form credstore.Form
	}{{"plaintext store", credstore.FormPlaintext}, {"hash store", credstore.FormHash}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			const people = 30
			const canary = "kanarienvogel"
			store, yaml := newLedger(t, c.form, people)
			collector := otlptest.New(t, nil)
			g := newGateway(t, yaml, generous+traced(collector, 1)+
				"log: {level: debug, decisions: [shed, limited, refused, paced, levelled, parked, breaker]}\n")
			g.start()
			m, api := g.mails(), g.reset()
			var mu sync.Mutex
			tokens := map[string]bool{}
			var seen strings.Builder
			var group sync.WaitGroup
			for i := range people {
				group.Go(func() {
					token := ask(t, g, m, address(i))
					// A password that is refused must leave as little behind as one that is taken.
					_, refusal := api.CompleteReset(t.Context(), &resetv1.CompleteResetRequest{Token: token + "x", NewPassword: canary, Client: person})
					done, err := api.CompleteReset(t.Context(), &resetv1.CompleteResetRequest{
						Token: token, NewPassword: fmt.Sprintf("%s number %d", canary, i), Client: person,
					})
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					defer mu.Unlock()
					tokens[token] = true
					fmt.Fprintln(&seen, refusal, prototext.Format(done))
				})
			}
			group.Wait()
			if t.Failed() {
				t.FailNow()
			}
			metrics := scrape(t, g)
			g.kill() // some are sealed in the queue, and stay there for the search
			var atRest []string
			needles := []string{canary, "person-0", "account-0"}
			for token := range tokens {
				needles = append(needles, token[:40])
			}
			atRest = append(atRest, inFiles(t, needles, filepath.Join(g.dir, "data"), filepath.Join(g.dir, "keys"))...)
			g.start()
			g.await("the last password", func(context.Context) error {
				if n := len(store.history(accountID(people - 1))); n == 0 {
					return fmt.Errorf("not applied yet")
				}
				return nil
			})
			// The spans of what ended just before the kill are lost with it; those of this ask are not.
			if _, err := g.reset().StartReset(t.Context(), &resetv1.StartResetRequest{Identifier: address(0), Client: person}); err != nil {
				t.Error(err)
			}
			metrics += scrape(t, g)
			waitCtx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			collector.Await(waitCtx, func(spans []otlptest.Span) bool { return named(spans, "batch start") != nil })
			g.signal(syscall.SIGQUIT) // a Go crash dump goes to the log
			g.mu.Lock()
			cmd := g.cmd
			g.cmd = nil
			g.mu.Unlock()
			_ = cmd.Wait()
			if !strings.Contains(g.output(), "goroutine ") {
				t.Error("there is no dump to search")
			}
			atRest = append(atRest, inFiles(t, needles, filepath.Join(g.dir, "data"), filepath.Join(g.dir, "keys"))...)
			// Nor do spans hold whence anybody called.
			for _, needle := range append([]string{person.GetIp(), "127.0.0.1"}, needles...) {
				if strings.Contains(collector.Text(), needle) {
					atRest = append(atRest, fmt.Sprintf("%q in spans", needle))
				}
			}
			if !strings.Contains(collector.Text(), "batch start") {
				t.Error("there were no spans to search")
			}
			for where, text := range map[string]string{"log and dump": g.output(), "metrics": metrics, "answers": seen.String()} {
				for _, needle := range needles {
					if strings.Contains(text, needle) {
						atRest = append(atRest, fmt.Sprintf("%q in %s", needle, where))
					}
				}
			}
			for _, f := range atRest {
				t.Error(f)
			}
			// The search itself must find: the mails do hold addresses.
			if len(inFiles(t, []string{"person-0"}, filepath.Join(g.dir, "mail"))) == 0 {
				t.Error("the search finds nothing where something is")
			}
			if files, err := os.ReadDir(filepath.Join(g.dir, "data", "queue")); err != nil || len(files) == 0 {
				t.Errorf("there was no queue to search: %v", err)
			}
		})
	}
}

func scrape(t *testing.T, g *gateway) string {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second}
	r, err := client.Get("http://" + g.http + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

package app_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surgegate/surgegate/pkg/credstore"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// TestALostOrRestoredQueueVoidsUsedLinks: the marks that make links single-use are in the queue, so when the queue is
// gone, or an older copy is put in its place, a used link must not work a second time; a new one does.
func TestALostOrRestoredQueueVoidsUsedLinks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		replace func(t *testing.T, queue, copied string)
	}{
		{"lost", func(t *testing.T, queue, _ string) { t.Helper() }},
		{"restored from an older copy", func(t *testing.T, queue, copied string) {
			t.Helper()
			if err := os.CopyFS(queue, os.DirFS(copied)); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, yaml := newLedger(t, credstore.FormPlaintext, 2)
			g := newGateway(t, yaml, generous)
			g.start()
			m := g.mails()
			token := ask(t, g, m, address(1))
			if code := g.terminate(); code != 0 {
				t.Fatalf("exit code %d\n%s", code, g.output())
			}
			queue, copied := filepath.Join(g.dir, "data", "queue"), filepath.Join(t.TempDir(), "copy")
			if err := os.CopyFS(copied, os.DirFS(queue)); err != nil {
				t.Fatal(err)
			}
			g.start()
			use := &resetv1.CompleteResetRequest{Token: token, NewPassword: "a long enough passphrase", Client: person, Wait: wait(20 * time.Second)}
			if done, err := g.reset().CompleteReset(t.Context(), use); err != nil || done.GetTicket().GetState() != resetv1.State_STATE_DONE {
				t.Fatalf("%v %v\n%s", done, err, g.output())
			}
			g.kill()
			if err := os.RemoveAll(queue); err != nil {
				t.Fatal(err)
			}
			c.replace(t, queue, copied)
			g.start()
			use.NewPassword = "another long passphrase"
			_, err := g.reset().CompleteReset(t.Context(), use)
			// KEY_UNKNOWN where the old key is less than a second older than the new one, and might be yet to come.
			if code := status.Code(err); code != codes.FailedPrecondition && code != codes.Unavailable {
				t.Fatalf("the used link: %v\n%s", err, g.output())
			}
			fresh := ask(t, g, m, address(0))
			use.Token = fresh
			if done, err := g.reset().CompleteReset(t.Context(), use); err != nil || done.GetTicket().GetState() != resetv1.State_STATE_DONE {
				t.Errorf("a new link: %v %v", done, err)
			}
		})
	}
}

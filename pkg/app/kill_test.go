package app_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surgegate/surgegate/pkg/credstore"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// killRounds is how often the program is killed; `make crash N=1000` sets it.
func killRounds(t *testing.T) int {
	t.Helper()
	text := os.Getenv("SURGEGATE_CRASH_ROUNDS")
	if text == "" {
		return 4
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("SURGEGATE_CRASH_ROUNDS: %v", err)
	}
	return n
}

// resetter is one person who resets again and again, and remembers what was accepted.
type resetter struct {
	account, address string
	api              resetv1.PasswordResetClient
	mails            *mails
	starts           []string // ticket ids
	completions      []accepted
	used             int // links used
}

type accepted struct{ ticket, password string }

// TestKilledAtRandomMomentsNothingAcceptedIsLost kills the real program with SIGKILL under load, again and again: every
// accepted ticket is there afterwards and ends, no password is applied twice or out of order.
func TestKilledAtRandomMomentsNothingAcceptedIsLost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		form credstore.Form
	}{{"plaintext store", credstore.FormPlaintext}, {"hash store", credstore.FormHash}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			const people = 24
			store, storeYAML := newLedger(t, c.form, people)
			g := newGateway(t, storeYAML, generous)
			g.start()
			mails, api := g.mails(), g.reset()

			ctx, stop := context.WithCancel(t.Context())
			var group sync.WaitGroup
			var done atomic.Int64
			progress := make(chan struct{}, 1)
			crowd := make([]*resetter, people)
			for i := range crowd {
				crowd[i] = &resetter{account: accountID(i), address: address(i), api: api, mails: mails}
				group.Go(func() { crowd[i].loop(ctx, t, &done, progress) })
			}
			for range killRounds(t) {
				// Some work between two kills, then any moment of the next 100 ms.
				before := done.Load()
				for done.Load() < before+2 {
					select {
					case <-progress:
					case <-time.After(60 * time.Second):
						t.Fatalf("nothing completes any more\n%s", g.output())
					}
				}
				<-time.After(time.Duration(rand.Int64N(int64(100 * time.Millisecond))))
				g.kill()
				g.start()
			}
			stop()
			group.Wait()
			verify(t, g, store, crowd)
		})
	}
}

// loop asks, reads the mail, completes; until ctx ends.
func (r *resetter) loop(ctx context.Context, t *testing.T, done *atomic.Int64, progress chan<- struct{}) {
	for n := 0; ctx.Err() == nil; n++ {
		start, err := r.api.StartReset(ctx, &resetv1.StartResetRequest{Identifier: r.address, Client: &resetv1.Client{Ip: "192.0.2.7"}})
		if err != nil {
			if !transient(err) && ctx.Err() == nil {
				t.Errorf("StartReset: %v", err)
				return
			}
			continue
		}
		r.starts = append(r.starts, start.GetTicket().GetId())
		mailCtx, cancel := context.WithTimeout(ctx, time.Second)
		token, err := r.mails.take(mailCtx, r.address, r.used)
		cancel()
		if err != nil {
			continue // the mail is late, or was withheld because a link is under way
		}
		r.complete(ctx, t, token, fmt.Sprintf("the %d. password of %s", n, r.account))
		if done.Add(1); true {
			select {
			case progress <- struct{}{}:
			default:
			}
		}
	}
}

// complete repeats with one request id until it has an answer, as a front end would.
func (r *resetter) complete(ctx context.Context, t *testing.T, token, password string) {
	request := &resetv1.CompleteResetRequest{
		Token: token, NewPassword: password, Client: &resetv1.Client{Ip: "192.0.2.7"}, RequestId: uuid.NewString(),
		SignOut: resetv1.SignOut_SIGN_OUT_KEEP,
	}
	for ctx.Err() == nil {
		answer, err := r.api.CompleteReset(ctx, request)
		switch {
		case err == nil:
			r.completions = append(r.completions, accepted{answer.GetTicket().GetId(), password})
			r.used++
			return
		case status.Code(err) == codes.FailedPrecondition:
			r.used++ // an older link: another one of this person's has been used
			return
		case !transient(err) && ctx.Err() == nil:
			t.Errorf("CompleteReset: %v", err)
			return
		}
	}
	// Nobody knows whether the last one was accepted: forget it, and what it may have done to the account.
	r.account = ""
}

func transient(err error) bool {
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.Canceled || code == codes.DeadlineExceeded || code == codes.ResourceExhausted
}

func verify(t *testing.T, g *gateway, store *ledger, crowd []*resetter) {
	t.Helper()
	api := g.reset()
	starts, completions := 0, 0
	for _, r := range crowd {
		for _, id := range r.starts {
			final(t, g, api, id)
			starts++
		}
		last := ""
		for _, c := range r.completions {
			switch got := final(t, g, api, c.ticket); {
			case got.GetState() == resetv1.State_STATE_DONE:
			case got.GetState() == resetv1.State_STATE_REJECTED && got.GetReason() == resetv1.Reason_REASON_SUPERSEDED:
			default:
				t.Errorf("an accepted completion ended %v %v", got.GetState(), got.GetReason())
			}
			last = c.password
			completions++
		}
		if r.account == "" {
			continue
		}
		history := store.history(r.account)
		changes := map[string]bool{}
		for i, h := range history {
			if changes[h.changeID] {
				t.Errorf("%s: change %s was applied twice", r.account, h.changeID)
			}
			changes[h.changeID] = true
			if i > 0 && h.sequence <= history[i-1].sequence {
				t.Errorf("%s: sequence %d was applied after %d", r.account, h.sequence, history[i-1].sequence)
			}
		}
		if last != "" && store.form == credstore.FormPlaintext && (len(history) == 0 || history[len(history)-1].password != last) {
			t.Errorf("%s: the last accepted password is not the one in the store", r.account)
		}
	}
	if completions == 0 {
		t.Fatal("nothing was accepted: the test has shown nothing")
	}
	g.await("conservation", func(ctx context.Context) error {
		s, err := g.status(ctx)
		if err == nil && s.GetQueue().GetConservation() != 0 {
			return fmt.Errorf("conservation is %d", s.GetQueue().GetConservation())
		}
		return err
	})
	t.Logf("%d starts and %d completions were accepted, all ended", starts, completions)
}

// final waits until the ticket has ended; a ticket that is not found is a promise broken.
func final(t *testing.T, g *gateway, api resetv1.PasswordResetClient, id string) (ticket *resetv1.Ticket) {
	t.Helper()
	g.await("ticket "+id, func(ctx context.Context) error {
		r, err := api.GetTicket(ctx, &resetv1.GetTicketRequest{TicketId: id})
		if status.Code(err) == codes.NotFound {
			t.Fatalf("the accepted ticket %s is gone", id)
		}
		if err != nil {
			return err
		}
		if r.GetPollAfter() != nil {
			return fmt.Errorf("still %v", r.GetTicket().GetState())
		}
		ticket = r.GetTicket()
		return nil
	})
	return ticket
}

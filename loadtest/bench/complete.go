package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/surgegate/surgegate/loadtest/report"
	"github.com/surgegate/surgegate/loadtest/testbed"
	credstorev1 "github.com/surgegate/surgegate/proto/surgegate/credstore/v1"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

const (
	completions = 400
	mailTimeout = 30 * time.Second
)

// complete compares, one call at a time on an idle machine, a completion that waits for its end with SetPasswords
// called straight at the same store.
func (s *suite) complete(ctx context.Context) ([]report.Figure, error) {
	storeAddress, err := testbed.FreeAddress()
	if err != nil {
		return nil, err
	}
	store, err := s.start(ctx, storeAddress, s.Self, "bench-serve", "store", storeAddress)
	if err != nil {
		return nil, err
	}
	defer store.Stop()
	gateway, err := s.gateway(ctx, "complete", fmt.Sprintf("{grpc: {address: %q, insecure: true}}", storeAddress), "reset: {sign_out: keep}\n")
	if err != nil {
		return nil, err
	}
	defer gateway.Stop()
	toStore, err := dial(storeAddress)
	if err != nil {
		return nil, err
	}
	defer func() { _ = toStore.Close() }()
	toGateway, err := dial(gateway.Address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = toGateway.Close() }()
	direct, front := credstorev1.NewCredentialStoreClient(toStore), resetv1.NewPasswordResetClient(toGateway)

	tokens, err := s.tokens(ctx, front, filepath.Join(s.dir, "complete", "mail"))
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, gateway.Output())
	}
	var straight, through []float64
	for i, token := range tokens {
		begin := s.Clock.Now()
		if _, err := direct.SetPasswords(ctx, &credstorev1.SetPasswordsRequest{Changes: []*credstorev1.PasswordChange{{
			AccountId: person(i), Password: &credstorev1.PasswordChange_Plaintext{Plaintext: password}, ChangeId: person(i),
			Sequence: 1, AcceptTime: timestamppb.New(begin),
		}}}); err != nil {
			return nil, err
		}
		middle := s.Clock.Now()
		r, err := front.CompleteReset(ctx, &resetv1.CompleteResetRequest{
			Token: token, NewPassword: password, Client: client(i), Wait: durationpb.New(10 * time.Second),
		})
		if err != nil {
			return nil, err
		}
		if state := r.GetTicket().GetState(); state != resetv1.State_STATE_DONE {
			return nil, fmt.Errorf("a completion that waits came back %v", state)
		}
		straight = append(straight, milliseconds(middle.Sub(begin)))
		through = append(through, milliseconds(s.Clock.Now().Sub(middle)))
	}
	added := report.Median(through) - report.Median(straight)
	return []report.Figure{{
		Name: "idle CompleteReset with wait, added to SetPasswords at the store, p50", Value: added, Unit: "ms",
		Reference: report.Median(straight), Goal: "≤ 3 (aim 1)", OK: added <= 3,
	}}, nil
}

const password = "a benchmark's password 4711"

func person(i int) string { return fmt.Sprintf("person-%d@example.com", i) }

func client(i int) *resetv1.Client {
	return &resetv1.Client{Ip: fmt.Sprintf("10.1.%d.%d", i>>8&255, i&255)}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// tokens asks for a link for each person and takes it out of the mail.
func (s *suite) tokens(ctx context.Context, front resetv1.PasswordResetClient, dir string) ([]string, error) {
	w, err := testbed.NewWatcher(dir, s.Clock, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	watchCtx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	type mail struct{ to, token string }
	mails := make(chan mail, completions) // one a person
	watching.Go(func() {                  // ends with cancel; a mail that does not come is an error below
		_ = w.Run(watchCtx, func(to, token string) {
			select {
			case mails <- mail{to, token}:
			case <-watchCtx.Done():
			}
		})
	})
	timeout := s.Clock.NewTimer(mailTimeout)
	defer timeout.Stop()
	for i := range completions {
		if _, err := front.StartReset(ctx, &resetv1.StartResetRequest{Identifier: person(i), Client: client(i)}); err != nil {
			return nil, err
		}
	}
	tokens := map[string]string{}
	for len(tokens) < completions {
		select {
		case m := <-mails:
			tokens[m.to] = m.token
		case <-timeout.C():
			return nil, errors.New("mails do not come")
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	var out []string
	for i := range completions {
		out = append(out, tokens[person(i)])
	}
	return out, nil
}

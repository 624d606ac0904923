package dispatch_test

import (
	"context"
	"fmt"
	netmail "net/mail"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/dispatch"
	"github.com/surgegate/surgegate/pkg/mail"
	"github.com/surgegate/surgegate/pkg/mail/smtp"
	"github.com/surgegate/surgegate/pkg/mail/smtp/smtptest"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/seal"
)

// newMailWorld mails by a real SMTP session over loopback.
func newMailWorld(t *testing.T, o options) (*world, *smtptest.Server) {
	t.Helper()
	server := smtptest.Start(t, smtptest.Config{NoTLS: true})
	sender, err := smtp.New(smtp.Config{
		Address: server.Address(), From: "no-reply@example.com", TLS: smtp.TLSNone, Connections: 4,
	}, smtp.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sender.Close(); err != nil {
			t.Error(err)
		}
	})
	o.sender = sender
	if o.config.MailTimeout == 0 {
		o.config.MailTimeout = patience // a busy machine's hiccup would look like a lost answer, and the mail be sent again
	}
	o.config.Breaker = breaker.Config{Consecutive: 3, OpenWait: 10 * time.Millisecond, MaxOpenWait: 20 * time.Millisecond}
	return newWorld(t, o), server
}

// received counts the mails that the server has taken: by address, and how many of all had a Message-ID that came before.
func received(t *testing.T, server *smtptest.Server) (to map[string]int, again int) {
	t.Helper()
	to = map[string]int{}
	ids := map[string]bool{}
	for _, text := range server.Mails() {
		m, err := netmail.ReadMessage(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		address, err := netmail.ParseAddress(m.Header.Get("To"))
		if err != nil {
			t.Fatal(err)
		}
		to[address.Address]++
		id := m.Header.Get("Message-ID")
		if id == "" || ids[id] {
			again++
		}
		ids[id] = true
	}
	return to, again
}

// Whatever trouble the mail server makes: the breaker opens, no mail is lost, none is sent twice, no try is used, and when
// the trouble has passed everything goes out at full speed again.
func TestTroubleOfTheMailServerPasses(t *testing.T) {
	t.Parallel()
	at := func(command, answer string) func(*smtptest.Server) {
		return func(s *smtptest.Server) {
			s.Answers(func(c string) string {
				if strings.HasPrefix(c, command) {
					return answer
				}
				return smtptest.Usual
			})
		}
	}
	for name, trouble := range map[string]func(*smtptest.Server){
		"too busy to greet":            at("CONNECT", "421 4.3.2 too busy"),
		"greets too late":              at("CONNECT", smtptest.Hang),
		"hangs up at once":             at("CONNECT", smtptest.Drop),
		"too many at MAIL":             at("MAIL", "451 4.3.0 later"),
		"closes at MAIL":               at("MAIL", "421 4.7.0 too many messages"),
		"too fast at RCPT":             at("RCPT", "450 4.7.1 too much mail from you"),
		"hangs at RCPT":                at("RCPT", smtptest.Hang),
		"hangs up at RCPT":             at("RCPT", smtptest.Drop),
		"hangs up at DATA":             at("DATA", smtptest.Drop),
		"disk full":                    at("CONTENT", "452 4.3.1 insufficient storage"),
		"hangs before it has taken it": at("CONTENT", smtptest.Hang),
		"drops the mail and hangs up":  at("CONTENT", smtptest.Drop),
		"refuses connections":          (*smtptest.Server).Down,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options{config: dispatch.Config{MaxTries: 1}}
			if strings.Contains(name, "hangs before") || strings.Contains(name, "hangs at") || strings.Contains(name, "too late") {
				o.config.MailTimeout = 2 * time.Second
			}
			w, server := newMailWorld(t, o)
			trouble(server)
			const n = 30
			for _, id := range w.many(n) {
				w.start(id)
			}
			w.until("the breaker has opened", func() bool {
				return w.metric("surgegate_breaker_transitions_total", "mail", "open") >= 1
			})
			if _, again := received(t, server); len(server.Mails()) != 0 || again != 0 {
				t.Fatalf("%d mails were taken", len(server.Mails()))
			}
			server.Answers(nil)
			if name == "refuses connections" {
				server.Up()
			}
			w.drained()
			to, again := received(t, server)
			for address, count := range to {
				if count != 1 {
					t.Errorf("%s got %d mails", address, count)
				}
			}
			if len(to) != n || again != 0 {
				t.Errorf("%d of %d people got their mail, %d mails were sent again", len(to), n, again)
			}
			if used, parked := w.metric("surgegate_jobs_retried_total", "mail", "used"), len(w.parked()); used != 0 || parked != 0 {
				t.Errorf("%v tries used, %d jobs parked", used, parked)
			}
			w.fullSpeed(4)
		})
	}
}

// fullSpeed shows that so many mails are handed off at once again.
func (w *world) fullSpeed(calls int) {
	w.t.Helper()
	g := newGateway()
	w.mails.mu.Lock()
	w.mails.fail = func(mail.Message) error { return g.pass(context.Background()) }
	w.mails.mu.Unlock()
	for i := range calls {
		w.enqueue(w.mailJob(reset.ClassInteractive, fmt.Sprintf("again-%d@example.com", i)), nil)
	}
	for range calls {
		select {
		case <-g.arrived:
		case <-time.After(patience):
			w.t.Fatal("speed has not come back")
		}
	}
	close(g.open)
	w.drained()
	for _, d := range w.dispatch.Status() {
		if d.Name == "mail" && (d.Breaker != breaker.Closed.String() || !d.OutageSince.IsZero()) {
			w.t.Errorf("mail is shown as %+v", d)
		}
	}
}

// mailJob is a mail in line: a link to somebody who waits for it, or a confirmation.
func (w *world) mailJob(class reset.Class, address string) reset.Job {
	w.t.Helper()
	purpose := reset.PurposeLink
	if class == reset.ClassDeferrable {
		purpose = reset.PurposeConfirmation
	}
	key := w.keyring.Index().Account(address)
	return w.sealed(seal.AudiencePII, reset.Job{
		ID: reset.NewID(), Lane: reset.LaneMail, Class: class, Key: key, Account: key, Unique: true, AcceptTime: w.now(),
	}, reset.MailPayload{AccountID: address, Address: address, Purpose: purpose}.Marshal())
}

// The unavoidable window: the server has taken a mail and its answer is lost. Only such a mail is sent again, with the same
// Message-ID, so that mailboxes which look at it show it once.
func TestOnlyAMailWhoseAnswerWasLostIsSentTwice(t *testing.T) {
	t.Parallel()
	w, server := newMailWorld(t, options{})
	var mu sync.Mutex
	lost := 0
	server.Answers(func(command string) string {
		mu.Lock()
		defer mu.Unlock()
		if command == "CONTENT" && lost < 5 {
			lost++
			return smtptest.Keep
		}
		return smtptest.Usual
	})
	const n = 20
	for _, id := range w.many(n) {
		w.start(id)
	}
	w.drained()
	to, again := received(t, server)
	if len(to) != n || again != 5 || len(server.Mails()) != n+5 {
		t.Errorf("%d people got %d mails, %d of them again", len(to), len(server.Mails()), again)
	}
}

// Full mailboxes are their owners' trouble: the breaker stays closed and others are served. Who can take it later gets it
// later; who never can is given up, and nobody sees it.
func TestAFullMailboxIsNoTroubleOfTheServer(t *testing.T) {
	t.Parallel()
	w, server := newMailWorld(t, options{config: dispatch.Config{MaxTries: 3}})
	const n = 20
	ids := w.many(n)
	var mu sync.Mutex
	tries := map[string]int{}
	server.Answers(func(command string) string {
		mu.Lock()
		defer mu.Unlock()
		if !strings.HasPrefix(command, "RCPT") {
			return smtptest.Usual
		}
		tries[command]++
		switch {
		case strings.Contains(command, "<m0@"):
			return "452 4.2.2 mailbox full"
		case tries[command] == 1:
			return "450 4.2.0 greylisted"
		default:
			return smtptest.Usual
		}
	})
	for _, id := range ids {
		w.start(id)
	}
	w.drained()
	to, again := received(t, server)
	if len(to) != n-1 || to["m0@example.com"] != 0 || again != 0 {
		t.Errorf("%d people got their mail, %d mails were sent again", len(to), again)
	}
	if opened := w.metric("surgegate_breaker_transitions_total", "mail", "open"); opened != 0 {
		t.Errorf("the breaker opened %v times", opened)
	}
	w.stop()
	if refused, parked := w.metric("surgegate_mails_total", "link", "refused"), len(w.parked()); refused != 1 || parked != 0 {
		t.Errorf("%v refused, %d parked", refused, parked)
	}
}

// Bulk mail takes at most its share of the calls, so that somebody who asks while it is under way finds one free.
func TestInteractiveMailFindsAFreeCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{idle: true, mail: pace.Config{Concurrency: 4}})
	g := newGateway()
	w.mails.fail = func(m mail.Message) error {
		if strings.HasPrefix(m.To, "bulk") {
			return g.pass(context.Background())
		}
		return nil
	}
	for i := range 30 {
		w.enqueue(w.mailJob(reset.ClassDeferrable, fmt.Sprintf("bulk-%d@example.com", i)), nil)
	}
	w.run()
	g.arrival(t)
	g.arrival(t)
	for range 3 {
		w.start("ada")
		w.until("the link was mailed", func() bool { return w.stats().Lanes[reset.LaneMail].Waiting[reset.ClassInteractive] == 0 })
	}
	w.start("grace")
	w.until("a link was mailed", func() bool { links, _ := w.mails.to("grace@example.com"); return len(links) == 1 })
	w.until("only two bulk mails are under way", func() bool { return w.stats().Lanes[reset.LaneMail].Leased == 2 })
	if n := len(g.arrived); n != 0 {
		t.Errorf("%d more bulk mails under way", n)
	}
	close(g.open)
	w.drained()
}

// Both kinds of mail keep to their own rates, and neither pays for the other.
func TestMailBudgetsAreSeparate(t *testing.T) {
	t.Parallel()
	c := clock.NewManual(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	w := newWorld(t, options{idle: true, clock: c, mail: pace.Config{Concurrency: 8}, config: dispatch.Config{
		MailBudget: dispatch.MailBudget{
			Interactive: dispatch.MailRate{PerSecond: 2, Burst: 4}, Bulk: dispatch.MailRate{PerSecond: .25, Burst: 1},
		},
	}})
	for i := range 6 {
		w.enqueue(w.mailJob(reset.ClassDeferrable, fmt.Sprintf("bulk-%d@example.com", i)), nil)
	}
	for i := range 12 {
		w.enqueue(w.mailJob(reset.ClassInteractive, fmt.Sprintf("person-%d@example.com", i)), nil)
	}
	w.run()
	sent := func() (people, bulk int) {
		w.mails.mu.Lock()
		defer w.mails.mu.Unlock()
		for _, m := range w.mails.sent {
			if strings.HasPrefix(m.To, "bulk") {
				bulk++
			} else {
				people++
			}
		}
		return people, bulk
	}
	for second := 0; ; second++ {
		w.until("no mail is in hand", func() bool { return w.stats().Lanes[reset.LaneMail].Leased == 0 })
		people, bulk := min(12, 4+2*second), 0
		if second > 4 { // nobody waits any more
			bulk = min(6, 1+(second-5)/4)
		}
		p, b := sent()
		if p > people || b > bulk {
			t.Fatalf("%d people and %d others were mailed in second %d, not at most %d and %d", p, b, second, people, bulk)
		}
		if p == 12 && b == 6 {
			break
		}
		// The lane may look at its budget just before the clock moves, and set its timer just after: then it is late, which
		// costs a token's time and breaks nothing.
		timers := 3 // of publishing, describing and sweeping
		if b < 5 {
			timers = 4 // and the budget's
		}
		c.BlockUntil(timers)
		c.Advance(time.Second + time.Nanosecond) // tokens are waited for to the nanosecond after them
	}
	w.drained()
}

// A queue that cannot be read for a while is no fault of the mail: it uses up no try, as it does not for a look-up.
func TestMailWaitsForTheQueuesRecords(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{config: dispatch.Config{MaxTries: 2}})
	var refused atomic.Int32
	w.queue.mu.Lock()
	w.queue.onMark = func() error {
		if s, err := w.queue.Queue.Stats(t.Context()); err != nil || s.Lanes[reset.LaneStart].Ended == 0 || refused.Add(1) > 5 {
			return err
		}
		return queue.ErrNotDurable
	}
	w.queue.mu.Unlock()
	w.start("ada")
	w.until("a link was mailed", func() bool { links, _ := w.mails.to("ada@example.com"); return len(links) == 1 })
	w.drained()
}

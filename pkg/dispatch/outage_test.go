package dispatch_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/credstore/grpcstore"
	"github.com/surgegate/surgegate/pkg/dispatch"
	"github.com/surgegate/surgegate/pkg/mail/smtp"
	"github.com/surgegate/surgegate/pkg/mail/smtp/smtptest"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/reset"
	credstorev1 "github.com/surgegate/surgegate/proto/surgegate/credstore/v1"
)

// foreign is what a backend's or a provider's words may hold.
const foreign = "no such user ada@example.com"

// logged is a log that a test reads while it is written.
type logged struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

func (l *logged) handler() slog.Handler { return slog.NewTextHandler(l, nil) }

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.String()
}

// with returns the lines that have all of the parts.
func (l *logged) with(parts ...string) (found []string) {
	for line := range strings.Lines(l.String()) {
		if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(line, p) }) {
			found = append(found, line)
		}
	}
	return found
}

// namesNobody fails where the log has what a downstream said, or whom it was about.
func (l *logged) namesNobody(t *testing.T) {
	t.Helper()
	for _, secret := range []string{"@example.com", "no such user", "argon2id$", "m0", "nobody"} {
		if strings.Contains(l.String(), secret) {
			t.Errorf("the log has %q:\n%s", secret, l)
		}
	}
}

// faulty is a real gRPC backend that answers calls with a code while it is told to.
type faulty struct {
	mu      sync.Mutex
	answers map[string]codes.Code // by method; OK: as the store does
	calls   map[string]int
}

func (f *faulty) answer(code codes.Code, methods ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range methods {
		f.answers[m] = code
	}
}

func (f *faulty) called(method string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[method]
}

func (f *faulty) intercept(ctx context.Context, r any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	method := info.FullMethod[strings.LastIndex(info.FullMethod, "/")+1:]
	f.mu.Lock()
	code := f.answers[method]
	f.calls[method]++
	f.mu.Unlock()
	if code != codes.OK {
		return nil, status.Error(code, foreign)
	}
	return handler(ctx, r)
}

// newFaulty returns the backend, and what puts it in front of a world's store.
func newFaulty(t *testing.T) (*faulty, func(credstore.Store) backend) {
	t.Helper()
	f := &faulty{answers: make(map[string]codes.Code), calls: make(map[string]int)}
	return f, func(behind credstore.Store) backend {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := grpc.NewServer(grpc.UnaryInterceptor(f.intercept))
		credstorev1.RegisterCredentialStoreServer(server, grpcstore.NewServer(behind))
		var serving sync.WaitGroup
		serving.Go(func() { _ = server.Serve(listener) }) // its end is asked for below
		t.Cleanup(func() {
			server.Stop()
			serving.Wait()
		})
		s, err := grpcstore.New(grpcstore.Config{Address: listener.Addr().String(), Insecure: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
}

// quick are a breaker's waits that tests have the patience for.
func quick() breaker.Config {
	return breaker.Config{OpenWait: 5 * time.Millisecond, MaxOpenWait: 10 * time.Millisecond}
}

// lineUp has n jobs wait in a lane before the first of them is worked on, so that the first calls are of different jobs
// however slowly the test puts them in.
func (w *world) lineUp(l reset.Lane, n int, put func()) {
	w.t.Helper()
	w.do(w.dispatch.PauseLane(l, true))
	put()
	w.until("all are in line", func() bool {
		waiting := 0
		for _, count := range w.stats().Lanes[l].Waiting {
			waiting += int(count)
		}
		return waiting == n
	})
	w.do(w.dispatch.PauseLane(l, false))
}

// A backend that answers one code to every SetPasswords parks nobody, whatever the code, and what waited is done when it is
// mended. The code, and what it means, are in the log and in the status.
func TestAStoreThatFailsEverythingIsAnOutage(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		code codes.Code
		name string
	}{
		{codes.Unknown, "UNKNOWN"}, {codes.InvalidArgument, "INVALID_ARGUMENT"}, {codes.Unimplemented, "UNIMPLEMENTED"},
		{codes.Unauthenticated, "UNAUTHENTICATED"}, {codes.PermissionDenied, "PERMISSION_DENIED"}, {codes.Internal, "INTERNAL"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var log logged
			f, behind := newFaulty(t)
			w := newWorld(t, options{
				behind: behind, log: log.handler(), oneBackend: true, store: pace.Config{Concurrency: 4},
				config: dispatch.Config{MaxTries: 3, Breaker: quick()},
			})
			f.answer(tc.code, "SetPasswords")
			phc := w.hash()
			var refs []reset.Ref
			w.lineUp(reset.LaneApply, 60, func() {
				for _, id := range w.many(60) {
					refs = append(refs, w.apply(id, phc))
				}
			})
			w.until("the store has been probed often", func() bool { return f.called("SetPasswords") > 60 })
			// Look-ups work meanwhile.
			w.start("ada")
			w.until("a mail was sent", func() bool { links, _ := w.mails.to("ada@example.com"); return len(links) == 1 })
			if p := w.parked(); len(p) != 0 {
				t.Fatalf("%d jobs parked: %s", len(p), p[0].Cause)
			}
			if n := w.metric("surgegate_jobs_retried_total", "apply", "used"); n > 8 { // until it is known, of 60 jobs with 3 tries each
				t.Errorf("%v tries used", n)
			}
			s := w.dispatch.Status()[0]
			if len(s.Failures) == 0 || s.Failures[0].Code != tc.name || s.Failures[0].Items < 60 || s.Failures[0].Meaning == "" || s.OutageSince.IsZero() {
				t.Errorf("the store is shown as %+v", s)
			}
			if lines := log.with("calls of a downstream failed", "downstream=store", "call=write", "code="+tc.name, "meaning="); len(lines) < 1 || len(lines) > 2 {
				t.Errorf("%d lines of the failures: %q", len(lines), lines)
			}
			if lines := log.with("nothing succeeds", "code="+tc.name); len(lines) != 1 {
				t.Errorf("%d lines of the outage\n%s", len(lines), &log)
			}
			log.namesNobody(t)
			f.answer(codes.OK, "SetPasswords")
			for _, r := range refs {
				w.ends(r, reset.StateDone, reset.ReasonNone)
			}
			w.drained()
			if s := w.dispatch.Status()[0]; s.Misconfiguration != "" {
				t.Errorf("after it was mended: %+v", s)
			}
		})
	}
}

// A store that fails every kind of call opens the breaker, whose line says why.
func TestTheBreakersLineNamesTheCode(t *testing.T) {
	t.Parallel()
	var log logged
	f, behind := newFaulty(t)
	w := newWorld(t, options{behind: behind, log: log.handler(), oneBackend: true, config: dispatch.Config{MaxTries: 3, Breaker: quick()}})
	f.answer(codes.Unknown, "SetPasswords", "Lookup", "Describe")
	for i := range 30 {
		w.start("nobody" + strconv.Itoa(i))
	}
	w.until("the breaker has opened", func() bool { return w.metric("surgegate_breaker_transitions_total", "store", "open") >= 1 })
	if lines := log.with("breaker changed", "downstream=store", "to=open", "outcome=error", "code=UNKNOWN", "failures="); len(lines) != 1 {
		t.Errorf("%d lines\n%s", len(lines), &log)
	}
	log.namesNobody(t)
	f.answer(codes.OK, "SetPasswords", "Lookup", "Describe")
	w.drained()
	if p := w.parked(); len(p) != 0 {
		t.Errorf("%d jobs parked", len(p))
	}
}

// Poisonous jobs that are the oldest in line do not keep the others from ending an outage, and are parked after it.
func TestPoisonousJobsAtTheHeadOfTheLine(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{idle: true, config: dispatch.Config{MaxTries: 3, Breaker: quick()}, store: pace.Config{Concurrency: 1}})
	ids := w.many(30)
	var sick atomic.Bool
	sick.Store(true)
	poisonous := ids[:5]
	w.store.on(func(s *store) {
		s.set = func(_ context.Context, changes []credstore.Change) error {
			for _, c := range changes {
				if sick.Load() || slices.Contains(poisonous, c.AccountID) {
					return errPoison
				}
			}
			return nil
		}
	})
	phc := w.hash()
	refs := make(map[string]reset.Ref)
	for _, id := range ids {
		refs[id] = w.apply(id, phc)
	}
	w.run()
	w.until("it is an outage", func() bool { return !w.dispatch.Status()[0].OutageSince.IsZero() })
	sick.Store(false)
	for _, id := range ids[5:] {
		w.ends(refs[id], reset.StateDone, reset.ReasonNone)
	}
	w.until("the poisonous ones are parked", func() bool { return len(w.parked()) == 5 })
	for _, p := range w.parked() {
		if p.Cause != "out of tries: the store failed to apply it" {
			t.Errorf("parked because %q", p.Cause)
		}
	}
}

// A store that asks to try every item again answers: the tries are used, and it shows.
func TestItemsThatTheStoreCannotDoAreShown(t *testing.T) {
	t.Parallel()
	var log logged
	w := newWorld(t, options{log: log.handler(), config: dispatch.Config{MaxTries: 2}})
	w.store.on(func(s *store) {
		s.after = func(_ []credstore.Change, r []credstore.Result) error {
			for i := range r {
				r[i] = credstore.Result{Outcome: credstore.RetryItem, Detail: foreign}
			}
			return nil
		}
	})
	w.apply(w.many(1)[0], w.hash())
	w.until("it is parked", func() bool { return len(w.parked()) == 1 })
	s := w.dispatch.Status()[0]
	if len(s.Failures) != 1 || s.Failures[0].Code != "RETRY" || s.Failures[0].Outcome != "item" || s.Failures[0].Items != 2 || !s.OutageSince.IsZero() {
		t.Errorf("the store is shown as %+v", s)
	}
	if lines := log.with("calls of a downstream failed", "code=RETRY", "outcome=item"); len(lines) != 1 {
		t.Errorf("lines %q", lines)
	}
	log.namesNobody(t)
}

// relay is a world with a real SMTP server that answers a command so.
func relay(t *testing.T, log *logged, command, answer string) (*world, *smtptest.Server) {
	t.Helper()
	server := smtptest.Start(t, smtptest.Config{NoTLS: true})
	server.Answers(func(said string) string {
		if strings.HasPrefix(said, command) {
			return answer
		}
		return smtptest.Usual
	})
	config := smtp.Config{Address: server.Address(), From: "no-reply@example.org", TLS: smtp.TLSNone}
	if command == "AUTH" {
		config.Username, config.PasswordFile = "surgegate", secretFile(t)
	}
	sender, err := smtp.New(config, smtp.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sender.Close() })
	w := newWorld(t, options{sender: sender, log: log.handler(), config: dispatch.Config{MaxTries: 3, Breaker: quick()}})
	return w, server
}

// A relay that refuses us, in whatever way, parks and loses no mail once that is known, and says so.
func TestARelayThatRefusesUsIsAnOutage(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		command, answer, code, misconfigured string
	}{
		{"RCPT", "550 5.7.1 " + foreign, "SMTP 550 5.7.1", ""},
		{"RCPT", "550 " + foreign, "SMTP 550", ""},
		{"MAIL", "550 5.7.1 " + foreign, "SMTP 550 5.7.1", "mail.from"},
		{"MAIL", "530 5.7.0 " + foreign, "SMTP 530 5.7.0", "sign in first"},
		{"MAIL", "552 5.2.2 " + foreign, "SMTP 552 5.2.2", "quota"},
		{"AUTH", "535 5.7.8 " + foreign, "SMTP 535 5.7.8", "mail.smtp.password_file"},
	} {
		t.Run(tc.command+" "+tc.code, func(t *testing.T) {
			t.Parallel()
			var log logged
			w, server := relay(t, &log, tc.command, tc.answer)
			ids := w.many(20)
			w.lineUp(reset.LaneMail, len(ids), func() {
				for _, id := range ids {
					w.start(id)
				}
			})
			w.until("it is an outage", func() bool { return !w.dispatch.Status()[1].OutageSince.IsZero() })
			s := w.dispatch.Status()[1]
			if len(s.Failures) == 0 || !slices.ContainsFunc(s.Failures, func(f dispatch.Failure) bool { return f.Code == tc.code && f.Meaning != "" }) {
				t.Errorf("mail is shown as %+v", s)
			}
			if !strings.Contains(s.Misconfiguration, tc.misconfigured) || tc.misconfigured == "" && s.Misconfiguration != "" {
				t.Errorf("misconfiguration %q", s.Misconfiguration)
			}
			if lines := log.with("calls of a downstream failed", "downstream=mail", `code="`+tc.code+`"`); len(lines) < 1 || len(lines) > 2 {
				t.Errorf("%d lines\n%s", len(lines), &log)
			}
			server.Answers(nil)
			w.drained()
			log.namesNobody(t)
			if n := len(w.parked()); n != 0 {
				t.Errorf("%d mails parked", n)
			}
			if n := server.Counts().Mails; n != len(ids) {
				t.Errorf("%d of %d mails went out", n, len(ids))
			}
		})
	}
}

// A refusal of one recipient is that mail's, with or without a code that says so.
func TestOneRefusedRecipientIsNoOutage(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"550 5.1.1", "550"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			var log logged
			w, server := relay(t, &log, "RCPT TO:<m3@", code+" "+foreign)
			for _, id := range w.many(8) {
				w.start(id)
			}
			w.drained()
			if n := server.Counts().Mails; n != 7 {
				t.Errorf("%d mails went out", n)
			}
			if n := w.metric("surgegate_mails_total", "link", "refused"); n != 1 {
				t.Errorf("%v mails ended as refused", n)
			}
			s := w.dispatch.Status()[1]
			item := func(f dispatch.Failure) bool { return f.Outcome == "item" && f.Code == "SMTP "+code }
			if !slices.ContainsFunc(s.Failures, item) && code != "550" || !s.OutageSince.IsZero() || s.Misconfiguration != "" {
				t.Errorf("mail is shown as %+v", s)
			}
			if lines := log.with("calls of a downstream failed", "code=", "SMTP "+code); len(lines) < 1 || len(lines) > 2 {
				t.Errorf("%d lines\n%s", len(lines), &log)
			}
			log.namesNobody(t)
		})
	}
}

// A policy that meets one recipient only parks that mail, after its tries, and stops no other.
func TestOneMailRefusedByPolicyIsParked(t *testing.T) {
	t.Parallel()
	var log logged
	w, server := relay(t, &log, "RCPT TO:<m3@", "550 5.7.1 "+foreign)
	for _, id := range w.many(8) {
		w.start(id)
	}
	w.until("it is parked", func() bool { return len(w.parked()) == 1 })
	w.until("the others went out", func() bool { return server.Counts().Mails == 7 })
	s := w.dispatch.Status()[1]
	if len(s.Failures) != 1 || s.Failures[0].Outcome != "error" || s.Failures[0].Items != 3 || !s.OutageSince.IsZero() {
		t.Errorf("mail is shown as %+v", s)
	}
	log.namesNobody(t)
}

func secretFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte("s3cret"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A store that cannot be used as it describes itself says so in one line at the start, and in the status what to change.
func TestADescriptionThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	describes := func(change func(*credstore.Description)) func(*store, *faulty) {
		return func(s *store, _ *faulty) {
			s.on(func(s *store) {
				s.describe = func(d credstore.Description) (credstore.Description, error) {
					change(&d)
					return d, nil
				}
			})
		}
	}
	for _, tc := range []struct {
		name, code, advice string
		spoil              func(*store, *faulty)
	}{
		{"no hash schemes", "NO_HASH_SCHEMES", "Name those that the backend verifies", describes(func(d *credstore.Description) { d.HashSchemes = nil })},
		{"no form", "NO_PASSWORD_FORM", "Answer PASSWORD_FORM_HASH or", describes(func(d *credstore.Description) { d.Form = 0 })},
		{"no common scheme", "NO_COMMON_SCHEME", "Add argon2id or 2b to hash_schemes", describes(func(d *credstore.Description) {
			d.HashSchemes = []string{"md5 of ada@example.com"}
		})},
		{"no Describe", "UNIMPLEMENTED", "CredentialStore", func(_ *store, f *faulty) { f.answer(codes.Unimplemented, "Describe") }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var log logged
			f, behind := newFaulty(t)
			healthy := newWorld(t, options{idle: true})
			tc.spoil(healthy.store, f)
			w := newWorld(t, options{from: healthy, behind: behind, log: log.handler(), oneBackend: true})
			lines := log.with("level=ERROR", "the store's description cannot be used", "code="+tc.code, "meaning=")
			if len(lines) != 1 {
				t.Fatalf("%d lines\n%s", len(lines), &log)
			}
			if m := w.dispatch.Status()[0].Misconfiguration; !strings.Contains(m, tc.advice) {
				t.Errorf("misconfiguration %q", m)
			}
			ref := w.complete("1", password)
			log.namesNobody(t)
			healthy.store.on(func(s *store) { s.describe = nil })
			f.answer(codes.OK, "Describe")
			w.ends(ref, reset.StateDone, reset.ReasonNone)
			if m := w.dispatch.Status()[0].Misconfiguration; m != "" {
				t.Errorf("misconfiguration after it was mended: %q", m)
			}
			w.drained()
		})
	}
}

// What a backend says is logged once an operator has asked for it, and not before.
func TestADownstreamsTextIsHot(t *testing.T) {
	t.Parallel()
	var log logged
	f, behind := newFaulty(t)
	config := dispatch.Config{
		Breaker: quick(), TryDelay: time.Millisecond, OverloadDelay: time.Millisecond, MaxDelay: 20 * time.Millisecond,
	}
	w := newWorld(t, options{behind: behind, log: log.handler(), oneBackend: true, config: config})
	fails := func(code codes.Code, name string) {
		t.Helper()
		f.answer(code, "Lookup")
		w.start("nobody")
		w.until(name+" is logged", func() bool { return len(log.with("calls of a downstream failed", "code="+name)) == 1 })
	}
	fails(codes.Internal, "INTERNAL")
	log.namesNobody(t)
	config.LogDownstreamText = true
	if err := w.dispatch.Reconfigure(config); err != nil {
		t.Fatal(err)
	}
	fails(codes.DataLoss, "DATA_LOSS")
	if len(log.with("code=DATA_LOSS", `text="`+foreign)) != 1 {
		t.Errorf("the text is not logged:\n%s", &log)
	}
	f.answer(codes.OK, "Lookup")
	w.drained()
}

package people

import (
	"math"
	"strings"
	"testing"
	"time"
	"unsafe"

	"google.golang.org/grpc/codes"

	"github.com/surgegate/surgegate/loadtest/model"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// world answers one person's calls in virtual time: a call takes callTime, a mail mailTime from an accepted start.
type world struct {
	b      *Behaviour
	answer func(op Op, nth int) Answer
	deaf   bool // mails get lost
	until  time.Duration

	calls [Ops]int
	at    [Ops][]time.Duration
}

const (
	callTime = time.Millisecond
	mailTime = 2 * time.Second
)

func (w *world) live(t *testing.T, id uint64, came time.Duration) Outcome {
	t.Helper()
	p, next := w.b.Person(id, came)
	return w.follow(t, &p, next, came)
}

func (w *world) follow(t *testing.T, p *Person, next Next, now time.Duration) Outcome {
	t.Helper()
	if w.until == 0 {
		w.until = 24 * time.Hour
	}
	mail, answered, out := Never, Never, OpStart
	for steps := 0; now < w.until; steps++ {
		if steps > 10_000 {
			t.Fatalf("person %d never ends: %+v", p.ID, *p)
		}
		switch next.Do {
		case End:
			return p.Outcome(now)
		case Make:
			out, answered = next.Op, now+callTime
			w.at[out] = append(w.at[out], now)
			w.calls[out]++
		}
		switch now = min(answered, mail, p.Due); now {
		case Never:
			return p.Outcome(w.until)
		case answered:
			a := w.answer(out, w.calls[out])
			if out == OpStart && a.Code == codes.OK && !w.deaf {
				mail = now + mailTime
			}
			answered = Never
			next = w.b.Answered(p, now, a)
		case mail:
			mail = Never
			next = w.b.Mailed(p, now)
		default:
			next = w.b.Wake(p)
		}
	}
	return p.Outcome(w.until)
}

func works(op Op, nth int) Answer {
	if op == OpComplete || op == OpTicket && nth < 3 {
		return Answer{State: resetv1.State_STATE_RUNNING, PollAfter: 10 * time.Second}
	}
	return Answer{State: resetv1.State_STATE_DONE}
}

func newWorld(t *testing.T, cfg Config, answer func(Op, int) Answer) *world {
	t.Helper()
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &world{b: b, answer: answer}
}

func TestTheWholeWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{Seed: 1, Resend: 1e-12}, works)
	out := w.live(t, 5, time.Hour)
	if !out.Accepted || !out.Promised || !out.Completed || out.GaveUp || out.Failures != 0 {
		t.Errorf("outcome %+v", out)
	}
	if want := [Ops]int{1, 1, 1, 3}; w.calls != want {
		t.Errorf("calls %v, want %v", w.calls, want)
	}
	// The mail, three polls of ten seconds and six calls; reading and typing do not count.
	if want := mailTime + 30*time.Second + 6*callTime; out.Wait != want {
		t.Errorf("wait %v, want %v", out.Wait, want)
	}
}

// Calls per call wanted, when a share f of them fails, is what the model says.
func TestAmplificationIsTheModels(t *testing.T) {
	t.Parallel()
	const crowd = 4000
	for _, share := range []float64{0.1, 0.5, 0.9, 1} {
		coin, n := model.NewRandom(99), uint64(0)
		w := newWorld(t, Config{Seed: 3, Resend: 1e-12}, func(Op, int) Answer {
			n++
			if coin.Uniform(n, model.Draw{}) < share {
				return Answer{Code: codes.Unavailable}
			}
			return Answer{}
		})
		w.deaf = true // only the first step is looked at
		for p := range uint64(crowd) {
			w.live(t, p, 0)
		}
		got, want := float64(w.calls[OpStart])/crowd, model.Amplification(share, 3, 5, 0.8)
		if math.Abs(got/want-1) > 0.05 {
			t.Errorf("at %v: %.2f calls a person, the model says %.2f", share, got, want)
		}
	}
}

func TestPatienceAndPushback(t *testing.T) {
	t.Parallel()
	refused := func(after, pushback time.Duration) Answer {
		return Answer{Code: codes.ResourceExhausted, RetryAfter: after, Pushback: pushback}
	}
	// The first call fails; when is the second made?
	for name, c := range map[string]struct {
		impatient float64
		first     Answer
		from, to  time.Duration
	}{
		"patient client backs off":       {1e-12, refused(0, 0), 1, time.Second},
		"impatient client does not":      {1, refused(0, 0), 0, 0},
		"RetryInfo is waited for":        {1e-12, refused(20*time.Second, 0), 20 * time.Second, 20 * time.Second},
		"pushback is waited for":         {1e-12, refused(0, 7*time.Second), 7 * time.Second, 7 * time.Second},
		"pushback -1: the person's turn": {1e-12, refused(20*time.Second, -1), 20 * time.Second, time.Minute},
	} {
		w := newWorld(t, Config{Seed: 1, Impatient: c.impatient, ComeBack: 1}, func(op Op, nth int) Answer {
			if op == OpStart && nth == 1 {
				return c.first
			}
			return works(op, nth)
		})
		if out := w.live(t, 1, 0); !out.Completed {
			t.Errorf("%s: %+v", name, out)
		}
		if second := w.at[OpStart][1] - callTime; second < c.from || second > c.to {
			t.Errorf("%s: the second attempt came after %v, want %v to %v", name, second, c.from, c.to)
		}
	}
}

func TestARepeatedCompletionIsTheSameLinkAgain(t *testing.T) {
	t.Parallel()
	var ids []string
	var p Person
	w := newWorld(t, Config{Seed: 1, ComeBack: 1}, nil)
	w.answer = func(op Op, nth int) Answer {
		if op == OpComplete {
			ids = append(ids, w.b.RequestID(&p))
			if nth < 5 {
				return Answer{Code: codes.DeadlineExceeded}
			}
		}
		return works(op, nth)
	}
	p, next := w.b.Person(1, 0)
	if out := w.follow(t, &p, next, 0); !out.Completed || out.Failures != 1 {
		t.Errorf("outcome %+v", out)
	}
	for _, id := range ids {
		if id != ids[0] || len(id) != 36 {
			t.Errorf("request ids %v", ids)
		}
	}
	if len(ids) != 5 {
		t.Errorf("%d completions, want 5", len(ids))
	}
}

func TestARefusedLinkSendsThePersonBackToTheStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{Seed: 1, Resend: 1e-12}, func(op Op, nth int) Answer {
		if op == OpCheck {
			return Answer{Code: codes.FailedPrecondition}
		}
		return works(op, nth)
	})
	out := w.live(t, 1, 0)
	if !out.GaveUp || out.Completed || w.calls[OpStart] != 5 || w.calls[OpCheck] != 5 {
		t.Errorf("outcome %+v after %d starts", out, w.calls[OpStart])
	}
}

func TestResendsAreThreePeopleInTen(t *testing.T) {
	t.Parallel()
	const crowd = 2000
	w := newWorld(t, Config{Seed: 4}, works)
	w.deaf = true
	for p := range uint64(crowd) {
		w.live(t, p, 0)
	}
	if resends := float64(w.calls[OpStart])/crowd - 1; math.Abs(resends-0.3) > 0.04 {
		t.Errorf("%.3f resends a person, want 0.3", resends)
	}
}

// An answer that got lost says nothing of the request: the mail comes all the same, and is opened.
func TestAMailIsOpenedByWhoIsAway(t *testing.T) {
	t.Parallel()
	b, err := New(Config{Seed: 1, ComeBack: 1, Impatient: 1})
	if err != nil {
		t.Fatal(err)
	}
	p, next := b.Person(1, 0)
	for range 3 {
		if next.Do != Make {
			t.Fatalf("move %+v, want another attempt", next)
		}
		next = b.Answered(&p, time.Second, Answer{Code: codes.DeadlineExceeded})
	}
	away := p.Due
	if next = b.Mailed(&p, 2*time.Second); next.Do != Wait || p.Due == away || p.Owed() {
		t.Errorf("the mail changed nothing: %+v, due %v", next, p.Due)
	}
	if next = b.Wake(&p); next != (Next{Do: Make, Op: OpCheck}) {
		t.Errorf("after reading: %+v, want the check", next)
	}
}

func TestWhatIsOwed(t *testing.T) {
	t.Parallel()
	b, err := New(Config{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	p, _ := b.Person(1, 0)
	owed := []bool{p.Owed()}
	b.Answered(&p, 1, Answer{})
	owed = append(owed, p.Owed()) // the mail
	b.Mailed(&p, 2)
	b.Wake(&p)
	b.Answered(&p, 3, Answer{})
	owed = append(owed, p.Owed()) // nothing
	b.Wake(&p)
	b.Answered(&p, 4, Answer{State: resetv1.State_STATE_ACCEPTED})
	owed = append(owed, p.Owed()) // the ticket
	b.Answered(&p, 5, Answer{State: resetv1.State_STATE_DONE})
	owed = append(owed, p.Owed())
	for i, want := range []bool{false, true, false, true, false} {
		if owed[i] != want {
			t.Errorf("owed %v", owed)
			break
		}
	}
}

func TestATicketThatNobodyKnowsIsGivenUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{Seed: 1, Resend: 1e-12}, func(op Op, nth int) Answer {
		if op == OpTicket {
			return Answer{Code: codes.NotFound}
		}
		return works(op, nth)
	})
	if out := w.live(t, 5, 0); !out.GaveUp || !out.Promised || out.Completed || w.calls[OpTicket] != 1 {
		t.Errorf("outcome %+v after %d polls", out, w.calls[OpTicket])
	}
}

func TestAttackersAskOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{Seed: 1}, func(Op, int) Answer { return Answer{Code: codes.ResourceExhausted, RetryAfter: time.Minute} })
	p, next := w.b.Attacker(7, 0)
	out := w.follow(t, &p, next, 0)
	if w.calls != [Ops]int{OpStart: 3} || out.GaveUp || out.Failures != 0 || !strings.HasPrefix(p.Nobody(), "nobody-7@") {
		t.Errorf("calls %v, outcome %+v", w.calls, out)
	}
}

func TestPeopleAreSmall(t *testing.T) {
	t.Parallel()
	if size := unsafe.Sizeof(Person{}); size > 64 {
		t.Errorf("a person takes %d bytes; 10 million of them must fit a simulation", size)
	}
}

func TestPasswordsAndAddressesAreDistinct(t *testing.T) {
	t.Parallel()
	b, err := New(Config{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	passwords, addresses := map[string]bool{}, map[string]bool{}
	for p := range uint64(70_000) {
		who, _ := b.Person(p, 0)
		passwords[b.Password(p)], addresses[who.Address().String()] = true, true
	}
	if len(passwords) != 70_000 || len(addresses) != 70_000 || len(b.Password(1)) < 15 {
		t.Errorf("%d passwords, %d addresses", len(passwords), len(addresses))
	}
}

func TestValidateNamesTheField(t *testing.T) {
	t.Parallel()
	if _, err := New(Config{ComeBack: 2}); err == nil || !strings.Contains(err.Error(), "ComeBack") {
		t.Errorf("ComeBack of 2: %v", err)
	}
	if _, err := New(Config{Backoff: -1}); err == nil || !strings.Contains(err.Error(), "Backoff") {
		t.Errorf("a negative Backoff: %v", err)
	}
}

func BenchmarkAPersonsWholeWay(b *testing.B) {
	people, err := New(Config{Seed: 1})
	if err != nil {
		b.Fatal(err)
	}
	for id := uint64(0); b.Loop(); id++ {
		p, _ := people.Person(id, 0)
		people.Answered(&p, 1, Answer{})
		people.Mailed(&p, 2)
		people.Wake(&p)
		people.Answered(&p, 3, Answer{})
		people.Wake(&p)
		people.Answered(&p, 4, Answer{State: resetv1.State_STATE_DONE})
	}
}

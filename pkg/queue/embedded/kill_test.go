package embedded_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/queue/embedded"
	"github.com/surgegate/surgegate/pkg/queue/queuetest"
	"github.com/surgegate/surgegate/pkg/reset"
)

const childDir = "SURGEGATE_TEST_CHILD_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		child(dir)
		return
	}
	// An engine whose commit failed cannot be closed: Pebble's own goroutines stay until the process ends.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/cockroachdb/pebble/v2/record.(*LogWriter).flushLoop"),
		goleak.IgnoreAnyFunction("github.com/cockroachdb/pebble/v2.(*cleanupManager).mainLoop"),
		goleak.IgnoreAnyFunction("github.com/cockroachdb/pebble/v2/internal/genericcache.(*shard[...]).releaseLoop"),
		goleak.IgnoreAnyFunction("github.com/cockroachdb/pebble/v2/internal/cache.(*readShard).run"),
		goleak.IgnoreAnyFunction("github.com/cockroachdb/pebble/v2.(*ConcurrencyLimitScheduler).periodicGranter"))
}

// child enqueues completions and ends some of them, and prints a line for each acknowledgement, until it is killed.
func child(dir string) {
	ctx := context.Background()
	e, err := embedded.Open(embedded.Config{Dir: dir}, embedded.Deps{Fatal: func(err error) { panic(err) }})
	if err != nil {
		panic(err)
	}
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf(format+"\n", args...) // one write call a line: a kill cuts between lines or in the last one
	}
	for range 8 {
		go func() {
			for {
				account := rand.Uint64()
				j := startJob(account)
				j.Lane, j.Account = reset.LaneApply, j.Key
				v := e.Enqueue(ctx, []queue.Item{{Job: j, Mark: &queue.MarkRaise{Account: j.Key, Request: j.Key, ExpireTime: clock.System{}.Now().Add(time.Hour)}}})[0]
				if v.Err != nil {
					panic(v.Err)
				}
				say("enqueued %d %v %d", account, v.Ref.ID, v.Ref.Seq)
			}
		}()
	}
	for {
		if err := e.Wait(ctx, reset.LaneApply, 0); err != nil {
			panic(err)
		}
		l, err := e.Lease(ctx, queue.LeaseRequest{Lane: reset.LaneApply, Max: 4, Visibility: time.Minute})
		if err != nil {
			panic(err)
		}
		ends := make([]queue.Finish, len(l))
		for i := range l {
			ends[i] = queue.Finish{Lease: l[i], State: reset.StateDone}
		}
		for i, err := range e.Finish(ctx, ends) {
			if err != nil {
				panic(err)
			}
			say("ended %v", l[i].Job.Ticket)
		}
	}
}

func TestKill9(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	accounts := make(map[reset.ID]uint64)
	refs := make(map[reset.ID]reset.Ref)
	ended := make(map[reset.ID]bool)
	for round := range queuetest.Rounds() {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cmd := exec.CommandContext(ctx, os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := 100 + rand.IntN(1000)
		lines := bufio.NewReader(out)
		for n := 0; ; n++ {
			if n == kill {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
			line, err := lines.ReadString('\n')
			if err != nil {
				break // a line without its end was not said
			}
			var id string
			var account, seq uint64
			switch {
			case strings.HasPrefix(line, "enqueued"):
				if _, err := fmt.Sscanf(line, "enqueued %d %s %d", &account, &id, &seq); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
			case strings.HasPrefix(line, "ended"):
				if _, err := fmt.Sscanf(line, "ended %s", &id); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
			default:
				t.Fatalf("the child says %q", line)
			}
			ticket, err := reset.ParseID(id)
			if err != nil {
				t.Fatal(err)
			}
			if seq == 0 {
				ended[ticket] = true
				continue
			}
			accounts[ticket] = account
			refs[ticket] = reset.Ref{ID: ticket, Lane: reset.LaneApply, Seq: seq}
		}
		_ = cmd.Wait() // killed
		cancel()
		e := open(t, dir, clock.System{})
		for ticket, ref := range refs {
			s, err := e.Ticket(t.Context(), ref)
			if err != nil {
				t.Fatalf("round %d: acknowledged ticket %v: %v", round, ticket, err)
			}
			if ended[ticket] && s.State != reset.StateDone {
				t.Fatalf("round %d: ticket %v was done and is %v", round, ticket, s.State)
			}
			if m, err := e.Mark(t.Context(), key(accounts[ticket])); err != nil || m == 0 {
				t.Fatalf("round %d: mark %d, %v", round, m, err)
			}
		}
		l, err := e.Lease(t.Context(), queue.LeaseRequest{Lane: reset.LaneApply, Max: 1 << 20, Visibility: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range l {
			if ended[l.Job.Ticket] {
				t.Fatalf("round %d: ended job %v is back", round, l.Job.ID)
			}
			if m, err := e.Mark(t.Context(), l.Job.Key); err != nil || m != l.Job.Sequence || len(l.Job.Payload) != 130 {
				t.Fatalf("round %d: half an item: mark %d, %v, sequence %d, payload of %d bytes", round, m, err, l.Job.Sequence, len(l.Job.Payload))
			}
		}
		if s, err := e.Stats(t.Context()); err != nil || s.Conservation() != 0 || s.Held != uint64(len(l)) {
			t.Fatalf("round %d: %+v, %v; %d leased", round, s, err, len(l))
		}
		closeEngine(t, e)
	}
	t.Logf("%d acknowledged, %d ended, none lost", len(refs), len(ended))
}

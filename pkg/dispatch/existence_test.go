package dispatch_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/dispatch"
	"github.com/surgegate/surgegate/pkg/mail"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// published is what a stranger's ticket is made from.
type published struct {
	doneAfter time.Duration
	start     reset.Pace
	mail      reset.Pace
	crowd     uint64
}

// publications waits for so many looks of the publisher at the queue.
func (w *world) publications(n int) {
	w.t.Helper()
	looks := func() int {
		w.queue.mu.Lock()
		defer w.queue.mu.Unlock()
		return w.queue.looks
	}
	until := looks() + n
	w.until("the paces are published", func() bool { return looks() >= until })
}

// stranger asks for a name of nobody's and tells all that shows through the answer.
func (w *world) stranger() published {
	w.t.Helper()
	w.publications(2) // the first one may have begun before
	ref := w.start("a stranger")
	w.until("the stranger's lane has passed", func() bool { return !w.status(ref).DoneTime.IsZero() })
	var p published
	w.queue.mu.Lock()
	for _, r := range w.queue.leases {
		if r.Lane == reset.LaneStart {
			p.doneAfter = r.DoneAfter
		}
	}
	w.queue.mu.Unlock()
	for lane, pace := range map[reset.Lane]*reset.Pace{reset.LaneStart: &p.start, reset.LaneMail: &p.mail} {
		r, err := w.queue.Get(w.t.Context(), queue.RecordPace, lane.String())
		if err != nil || pace.Unmarshal(r.Value) != nil {
			w.t.Fatal(err)
		}
		pace.PublishTime = time.Time{}
	}
	p.crowd = w.stats().Lanes[reset.LaneMail].Crowd()
	return p
}

// An idle system, and somebody who asks for a few names: whether they are accounts shows to nobody, whatever is down or
// slow.
func TestFewHitsDoNotShowToAStranger(t *testing.T) {
	t.Parallel()
	const few = 8
	slowly := func(ctx context.Context) { _ = clock.System{}.Sleep(ctx, 700*time.Millisecond) }
	for _, c := range []struct {
		name   string
		mail   func() error
		lookup func(ctx context.Context, identifiers []string)
		told   func(w *world) bool // the fault has shown to the work side
	}{
		{
			name: "mail dark",
			mail: func() error { return mail.ErrOverloaded },
			told: func(w *world) bool {
				return w.metric("surgegate_breaker_transitions_total", "mail", "open") >= 1 && w.stats().Lanes[reset.LaneMail].Retrying > 0
			},
		},
		{
			name: "mail slow",
			mail: func() error { slowly(context.Background()); return nil },
			told: func(w *world) bool { return w.stats().Held == 0 },
		},
		{
			name: "look-ups of accounts slow",
			lookup: func(ctx context.Context, identifiers []string) {
				if identifiers[0][0] == 'm' {
					slowly(ctx)
				}
			},
			told: func(w *world) bool { return w.stats().Held == 0 },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			seen := func(name string) published {
				w := newWorld(t, options{config: dispatch.Config{
					Breaker: breaker.Config{Consecutive: 3, OpenWait: time.Hour, MaxOpenWait: time.Hour},
				}})
				w.many(few)
				w.mails.fail = func(mail.Message) error {
					if c.mail == nil {
						return nil
					}
					return c.mail()
				}
				if c.lookup != nil {
					w.store.on(func(s *store) {
						s.lookup = func(ctx context.Context, identifiers, _ []string) error {
							if len(identifiers) > 0 {
								c.lookup(ctx, identifiers)
							}
							return nil
						}
					})
				}
				for i := range few {
					w.start(name + strconv.Itoa(i))
				}
				if name == "m" {
					w.until("the fault shows", func() bool { return c.told(w) })
				} else {
					w.drained()
				}
				return w.stranger()
			}
			if hits, misses := seen("m"), seen("nobody"); hits != misses {
				t.Errorf("with accounts\n%+v, without\n%+v", hits, misses)
			}
		})
	}
}

// A crowd hides everybody, so it is told how long the mail server has been out.
func TestOutageOfACrowdIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{config: dispatch.Config{
		Breaker: breaker.Config{Consecutive: 3, OpenWait: time.Hour, MaxOpenWait: time.Hour},
	}})
	w.mails.fail = func(mail.Message) error { return mail.ErrOverloaded }
	for _, id := range w.many(queue.CrowdMin) {
		w.start(id)
	}
	w.until("all mails wait", func() bool { return w.stats().Lanes[reset.LaneMail].Crowd() == queue.CrowdMin })
	if p := w.stranger(); p.mail.OutageSince.IsZero() || p.doneAfter < time.Second+queue.CrowdMin*time.Second/100 {
		t.Errorf("published %+v", p)
	}
}

package dispatch_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/mail"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/seal"
)

type told struct {
	hours     int
	handedOff bool
}

// A link's age is from its ask, though its mail job is made hours later; what nobody asked for is not told of.
func TestLinksAreToldOfByTheAgeOfTheirAsk(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var links []told
	w := newWorld(t, options{idle: true, link: func(age time.Duration, handedOff bool) {
		mu.Lock()
		defer mu.Unlock()
		links = append(links, told{int(age.Hours()), handedOff})
	}})
	w.mails.fail = func(m mail.Message) error {
		if m.To == "grace@example.com" {
			return fmt.Errorf("no such mailbox: %w", mail.ErrRefused)
		}
		return nil
	}
	asked := func(identifier string, ago time.Duration) {
		w.enqueue(w.sealed(seal.AudiencePII, reset.Job{
			ID: reset.NewID(), Ticket: reset.NewID(), Lane: reset.LaneStart, Key: w.keyring.Index().Identifier(identifier),
			AcceptTime: w.now().Add(-ago),
		}, reset.StartPayload{Identifier: identifier, Purpose: reset.PurposeLink}.Marshal()), nil)
	}
	asked("ada@example.com", 3*time.Hour)
	asked("grace@example.com", 5*time.Hour)
	asked("nobody@example.com", 7*time.Hour)
	w.run()
	w.drained()
	w.ends(w.complete("1", password), reset.StateDone, reset.ReasonNone)
	w.drained() // the confirmation is mailed
	mu.Lock()
	defer mu.Unlock()
	slices.SortFunc(links, func(a, b told) int { return a.hours - b.hours })
	if want := []told{{3, true}, {5, false}}; !slices.Equal(links, want) {
		t.Errorf("told of %v, not of %v", links, want)
	}
	if sent := w.metric("surgegate_mails_total", "confirmation", "sent"); sent != 1 {
		t.Errorf("%v confirmations", sent)
	}
	if items, calls := w.metric("surgegate_downstream_items_total", "mail", "ok"), w.metric("surgegate_downstream_calls_total", "mail", "ok"); items != calls || items != 3 {
		t.Errorf("%v mails in %v calls", items, calls)
	}
}

package gate_test

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/reset"
)

// Bad fields are all named at once. They are judged first: a bad request spends nothing, whatever the state of the gate.
func TestFieldsAreJudgedBeforeAnythingIsSpent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{clientBurst: 1, globalBurst: 1})
	good := w.client("192.0.2.1")
	long := func(n int) string { return strings.Repeat("x", n) }
	start := func(change func(*gate.StartRequest)) func() error {
		r := gate.StartRequest{Identifier: "ada", Client: good}
		change(&r)
		return func() error { _, err := w.gate.StartReset(t.Context(), r); return err }
	}
	tok := w.token("acc-1")
	complete := func(change func(*gate.CompleteRequest)) func() error {
		r := w.completion(tok)
		change(&r)
		return func() error { _, err := w.gate.CompleteReset(t.Context(), r); return err }
	}
	for _, c := range []struct {
		name string
		call func() error
		want string // the fields
	}{
		{"blank identifier", start(func(r *gate.StartRequest) { r.Identifier = " \n" }), "identifier"},
		{"64 KiB identifier", start(func(r *gate.StartRequest) { r.Identifier = long(64 << 10) }), "identifier"},
		{"bad UTF-8", start(func(r *gate.StartRequest) { r.Identifier = "\xc3\x28" }), "identifier"},
		{"no address", start(func(r *gate.StartRequest) { r.Client.IP = netip.Addr{} }), "client.ip"},
		{"zone", start(func(r *gate.StartRequest) { r.Client.IP = netip.MustParseAddr("fe80::1%eth0") }), "client.ip"},
		{"unspecified", start(func(r *gate.StartRequest) { r.Client.IP = netip.IPv6Unspecified() }), "client.ip"},
		{"client id", start(func(r *gate.StartRequest) { r.Client.ID = long(129) }), "client.id"},
		{"blank client id", start(func(r *gate.StartRequest) { r.Client.ID = "  " }), "client.id"},
		{"NUL in the client id", start(func(r *gate.StartRequest) { r.Client.ID = "a\x00" }), "client.id"},
		{"line break in the locale", start(func(r *gate.StartRequest) { r.Client.Locale = "en\r\nBcc: x" }), "client.locale"},
		{"long locale", start(func(r *gate.StartRequest) { r.Client.Locale = long(36) }), "client.locale"},
		{"verdict", start(func(r *gate.StartRequest) { r.Client.Verdict = 3 }), "client.verdict"},
		{"negative wait", start(func(r *gate.StartRequest) { r.Wait = -1 }), "wait"},
		{"long wait", start(func(r *gate.StartRequest) { r.Wait = 30*time.Second + 1 }), "wait"},
		{"all of a start", start(func(r *gate.StartRequest) {
			*r = gate.StartRequest{Wait: -1, Client: gate.Client{ID: " ", Locale: "!", Verdict: 9}}
		}), "client.id client.ip client.locale client.verdict identifier wait"},
		{"all of a completion", complete(func(r *gate.CompleteRequest) {
			*r = gate.CompleteRequest{SignOut: 9, Wait: -1, RequestID: "1"}
		}), "client.ip new_password request_id sign_out token wait"},
		{"long token", complete(func(r *gate.CompleteRequest) { r.Token = long(2049) }), "token"},
		{"long password", complete(func(r *gate.CompleteRequest) { r.NewPassword = long(4097) }), "new_password"},
		{"another spelling of a UUID", complete(func(r *gate.CompleteRequest) { r.RequestID = "urn:uuid:" + requestID }), "request_id"},
		{"token to check", func() error { _, err := w.gate.CheckToken(t.Context(), "", gate.Client{}); return err }, "client.ip token"},
		{"no ticket id", func() error { _, err := w.gate.GetTicket(t.Context(), ""); return err }, "ticket_id"},
		{"long ticket id", func() error {
			return w.gate.WatchTicket(t.Context(), long(257), func(reset.Ticket) error { return nil })
		}, "ticket_id"},
	} {
		err := c.call()
		wantKind(t, err, reset.KindInvalid)
		var bad reset.Violations
		if !errors.As(err, &bad) {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		fields := map[string]bool{}
		for _, v := range bad {
			fields[v.Field] = true
			if strings.Contains(v.Detail, "xxx") {
				t.Errorf("%s: the answer repeats what was submitted", c.name)
			}
		}
		if got := strings.Join(slices.Sorted(maps.Keys(fields)), " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	if n := w.held(); n != 0 {
		t.Errorf("%d jobs in the queue", n)
	}
	w.start(gate.StartRequest{Identifier: "ada", Client: good}) // both buckets, of one, are full
}

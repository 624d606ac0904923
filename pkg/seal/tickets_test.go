package seal_test

import (
	"context"
	"encoding/base64"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/seal"
)

func TestTickets(t *testing.T) {
	t.Parallel()
	tickets := open(t, t.TempDir(), seal.Config{Create: true}, newClock()).Tickets()
	rapid.Check(t, func(t *rapid.T) {
		ref := reset.Ref{
			ID:         reset.NewID(),
			Lane:       rapid.SampledFrom(reset.Lanes()).Draw(t, "lane"),
			Class:      rapid.SampledFrom(reset.Classes()).Draw(t, "class"),
			Seq:        rapid.Uint64().Draw(t, "seq"),
			Locator:    rapid.Uint16().Draw(t, "locator"),
			AcceptTime: time.UnixMicro(rapid.Int64Range(0, 1<<52).Draw(t, "accept")).UTC(),
		}
		id := tickets.Seal(ref)
		if len(id) != seal.TicketChars || len(id) > 80 || id != tickets.Seal(ref) {
			t.Fatalf("%q is %d characters, or another the second time", id, len(id))
		}
		if got, err := tickets.Open(id); err != nil || got != ref {
			t.Fatalf("%+v, %v, want %+v", got, err, ref)
		}
		i := rapid.IntRange(0, len(id)-1).Draw(t, "place")
		other := rapid.SampledFrom([]byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/ \n")).Draw(t, "character")
		if id[i] == other {
			return
		}
		changed := id[:i] + string(other) + id[i+1:]
		if got, err := tickets.Open(changed); reset.KindOf(err) != reset.KindNotFound {
			t.Fatalf("%q opened: %+v, %v", changed, got, err)
		}
	})
	for _, bad := range []string{"", "x", strings.Repeat("A", seal.TicketChars), strings.Repeat("A", 1000)} {
		if _, err := tickets.Open(bad); reset.KindOf(err) != reset.KindNotFound {
			t.Errorf("%q: %v, want KindNotFound", bad, err)
		}
	}
}

func TestIndexSeparatesDomains(t *testing.T) {
	t.Parallel()
	x := open(t, t.TempDir(), seal.Config{Create: true}, newClock()).Index()
	seen := map[reset.Key]string{}
	for name, k := range map[string]reset.Key{
		"identifier":       x.Identifier("ab"),
		"account":          x.Account("ab"),
		"recipient":        x.Recipient("ab"),
		"request a, b":     x.Request("a", "b"),
		"request ab, c":    x.Request("ab", "c"),
		"request a, bc":    x.Request("a", "bc"),
		"request '', ab":   x.Request("", "ab"),
		"other identifier": x.Identifier("Ab"),
	} {
		if seen[k] != "" || k.IsZero() {
			t.Errorf("%s hashes as %q does, or to zero", name, seen[k])
		}
		seen[k] = name
	}
	if first, second := x.Identifier("ab"), x.Identifier("ab"); first != second {
		t.Error("the same identifier hashes differently")
	}
	if k := x.Request("a", ""); !k.IsZero() {
		t.Error("no request id must give the zero key")
	}
}

func TestIndexIsConcurrent(t *testing.T) {
	t.Parallel()
	x := open(t, t.TempDir(), seal.Config{Create: true}, newClock()).Index()
	want := [...]reset.Key{x.Account("a"), x.Account("b"), x.Request("token", "a longer request id")}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				if got := [...]reset.Key{x.Account("a"), x.Account("b"), x.Request("token", "a longer request id")}; got != want {
					t.Errorf("%v, want %v", got, want)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzOpenEnvelope(f *testing.F) {
	c, store := newClock(), newStore()
	k := open(f, f.TempDir(), seal.Config{Create: true}, c)
	b := newBinding()
	good, err := seal.NewSealer(k, store, c).Seal(context.Background(), seal.AudiencePassword, b, []byte("secret"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{})
	f.Add(good[:41])
	opener := seal.NewOpener(k, store)
	f.Fuzz(func(t *testing.T, e []byte) {
		if _, err := opener.Open(context.Background(), b, e); err == nil && string(e) != string(good) {
			t.Fatalf("opened a forgery: %x", e)
		}
	})
}

func FuzzOpenTicket(f *testing.F) {
	tickets := open(f, f.TempDir(), seal.Config{Create: true}, newClock()).Tickets()
	good := tickets.Seal(reset.Ref{ID: reset.NewID(), Seq: 1, AcceptTime: start})
	f.Add(good)
	f.Add(good + "\n")
	f.Add(base64.RawURLEncoding.EncodeToString(make([]byte, 53)))
	f.Fuzz(func(t *testing.T, id string) {
		if _, err := tickets.Open(id); err == nil && id != good {
			t.Fatalf("opened a forgery: %q", id)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	c, store := newClock(), newStore()
	k := open(b, b.TempDir(), seal.Config{Create: true}, c)
	sealer, opener := seal.NewSealer(k, store, c), seal.NewOpener(k, store)
	bind, plaintext := newBinding(), make([]byte, 300)
	e, err := sealer.Seal(context.Background(), seal.AudiencePassword, bind, plaintext)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("Seal300B", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = sealer.Seal(context.Background(), seal.AudiencePassword, bind, plaintext)
		}
	})
	b.Run("Open300B", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := opener.Open(context.Background(), bind, e); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("NewDataKey", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = seal.NewSealer(k, store, c).Seal(context.Background(), seal.AudiencePassword, bind, plaintext)
		}
	})
	ref := reset.Ref{ID: reset.NewID(), Seq: 1, AcceptTime: start}
	id := k.Tickets().Seal(ref)
	b.Run("TicketSeal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			k.Tickets().Seal(ref)
		}
	})
	b.Run("TicketOpen", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = k.Tickets().Open(id)
		}
	})
	b.Run("Index", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			k.Index().Identifier("somebody@example.com")
		}
	})
}

package seal_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/seal"
)

var start = time.Date(2026, 11, 23, 19, 0, 0, 0, time.UTC)

// turnable is a clock that can also go back.
type turnable struct {
	clock.System
	mu  sync.Mutex
	now time.Time
}

func newClock() *turnable { return &turnable{now: start} }

func (c *turnable) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *turnable) move(d time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	return c.now
}

// memoryStore is a KeyStore that can be told to fail.
type memoryStore struct {
	mu      sync.Mutex
	keys    map[string][]byte
	expires map[string]time.Time
	fail    error
}

func newStore() *memoryStore {
	return &memoryStore{keys: map[string][]byte{}, expires: map[string]time.Time{}}
}

func (s *memoryStore) PutKey(ctx context.Context, id string, wrapped []byte, expire time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(ctx.Err(), s.fail); err != nil {
		return err
	}
	if old, ok := s.keys[id]; ok && !bytes.Equal(old, wrapped) {
		return errors.New("same id, other content")
	}
	s.keys[id], s.expires[id] = bytes.Clone(wrapped), expire
	return nil
}

func (s *memoryStore) GetKey(_ context.Context, id string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.keys[id]
	if !ok {
		return nil, seal.ErrKeyGone
	}
	return bytes.Clone(k), nil
}

func (s *memoryStore) setFail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func (s *memoryStore) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.keys)
}

func open(tb testing.TB, dir string, cfg seal.Config, c clock.Clock) *seal.Keyring {
	tb.Helper()
	k, err := seal.OpenKeyring(dir, cfg, c)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func newBinding() seal.Binding {
	return seal.Binding{Job: reset.NewID(), Ticket: reset.NewID(), Account: reset.Key(reset.NewID()), Lane: reset.LaneHash, AcceptTime: start, ExpireTime: start.Add(24 * time.Hour)}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	c, store := newClock(), newStore()
	k := open(t, t.TempDir(), seal.Config{Create: true}, c)
	sealer, opener := seal.NewSealer(k, store, c), seal.NewOpener(k, store)
	rapid.Check(t, func(t *rapid.T) {
		plaintext := rapid.SliceOfN(rapid.Byte(), 0, 2000).Draw(t, "plaintext")
		audience := rapid.SampledFrom([]seal.Audience{seal.AudiencePassword, seal.AudiencePII}).Draw(t, "audience")
		b := newBinding()
		if rapid.Bool().Draw(t, "forever") {
			b.ExpireTime = time.Time{}
		}
		e, err := sealer.Seal(context.Background(), audience, b, plaintext)
		if err != nil {
			t.Fatal(err)
		}
		if len(e) != len(plaintext)+seal.Overhead || cap(e) != len(e) {
			t.Fatalf("envelope of %d bytes (cap %d) for %d", len(e), cap(e), len(plaintext))
		}
		got, err := opener.Open(context.Background(), b, e)
		if err != nil || !bytes.Equal(got, plaintext) {
			t.Fatalf("opened %x, %v; want %x", got, err, plaintext)
		}
		// Any one bit, in any place, closes it.
		i := rapid.IntRange(0, 8*len(e)-1).Draw(t, "bit")
		e[i/8] ^= 1 << (i % 8)
		if got, err := opener.Open(context.Background(), b, e); err == nil {
			t.Fatalf("opened %x with bit %d flipped", got, i)
		}
	})
}

func TestBindingIsBound(t *testing.T) {
	t.Parallel()
	c, store := newClock(), newStore()
	k := open(t, t.TempDir(), seal.Config{Create: true}, c)
	b := newBinding()
	e, err := seal.NewSealer(k, store, c).Seal(t.Context(), seal.AudiencePassword, b, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	opener := seal.NewOpener(k, store)
	for name, change := range map[string]func(*seal.Binding){
		"job":     func(b *seal.Binding) { b.Job[0]++ },
		"ticket":  func(b *seal.Binding) { b.Ticket[15]++ },
		"account": func(b *seal.Binding) { b.Account[7]++ },
		"lane":    func(b *seal.Binding) { b.Lane = reset.LaneApply },
		"accept":  func(b *seal.Binding) { b.AcceptTime = b.AcceptTime.Add(-time.Microsecond) },
		"expiry":  func(b *seal.Binding) { b.ExpireTime = b.ExpireTime.Add(time.Microsecond) },
		"forever": func(b *seal.Binding) { b.ExpireTime = time.Time{} },
	} {
		changed := b
		change(&changed)
		if _, err := opener.Open(t.Context(), changed, e); !errors.Is(err, seal.ErrTampered) {
			t.Errorf("%s changed: %v, want ErrTampered", name, err)
		}
	}
	for _, n := range []int{0, 1, 17, 25, seal.Overhead - 1} {
		if _, err := opener.Open(t.Context(), b, e[:n]); !errors.Is(err, seal.ErrTampered) {
			t.Errorf("cut to %d bytes: %v, want ErrTampered", n, err)
		}
	}
	if _, err := opener.Open(t.Context(), b, append(bytes.Clone(e), 0)); !errors.Is(err, seal.ErrTampered) {
		t.Errorf("a byte more: %v, want ErrTampered", err)
	}
}

func TestWrappedKeyIsBound(t *testing.T) {
	t.Parallel()
	c, store := newClock(), newStore()
	k := open(t, t.TempDir(), seal.Config{Create: true}, c)
	b := newBinding()
	e, err := seal.NewSealer(k, store, c).Seal(t.Context(), seal.AudiencePassword, b, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	for id, wrapped := range store.keys {
		if len(wrapped) != 1178 {
			t.Errorf("a wrapped key is %d bytes; doc.go says 1178", len(wrapped))
		}
		for i := range wrapped {
			bad := newStore()
			bad.keys[id] = bytes.Clone(wrapped)
			bad.keys[id][i] ^= 1
			if _, err := seal.NewOpener(k, bad).Open(t.Context(), b, e); !errors.Is(err, seal.ErrTampered) && !errors.Is(err, seal.ErrKeyGone) {
				t.Fatalf("byte %d changed: %v", i, err)
			}
		}
	}
}

// The erasure of SECURITY.md 16: after period + wait nothing opens any more, in no process, not even from a cache.
func TestErasure(t *testing.T) {
	t.Parallel()
	dir, c, store := t.TempDir(), newClock(), newStore()
	k := open(t, dir, seal.Config{Create: true}, c)
	sealer, opener := seal.NewSealer(k, store, c), seal.NewOpener(k, store)
	b := newBinding()
	e, err := sealer.Seal(t.Context(), seal.AudiencePassword, b, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	pii, err := sealer.Seal(t.Context(), seal.AudiencePII, b, []byte("identifier"))
	if err != nil {
		t.Fatal(err)
	}
	for _, expire := range store.expires {
		if !expire.IsZero() && !expire.Equal(start.Add(25*time.Hour)) {
			t.Errorf("a password data key expires at %v, want period end + 24 h", expire)
		}
	}
	// What a crash between link and unlink would leave: a second name of the private half.
	key := filepath.Join(dir, "seal", "password-20261123T190000.000Z.key")
	if err := os.Link(key, filepath.Join(dir, "seal", ".tmp-left-behind")); err != nil {
		t.Fatal(err)
	}
	hourAgo := time.Now().Add(-time.Hour)
	if err := os.Chtimes(key, hourAgo, hourAgo); err != nil {
		t.Fatal(err)
	}
	for h := range 26 {
		now := c.move(time.Hour - time.Nanosecond)
		if err := k.Maintain(now); err != nil {
			t.Fatal(err)
		}
		_, err := opener.Open(t.Context(), b, e)
		if open := h < 25; open != (err == nil) {
			t.Fatalf("after %v: %v", now.Sub(start), err)
		}
		c.move(time.Nanosecond)
	}
	if _, err := opener.Open(t.Context(), b, e); !errors.Is(err, seal.ErrKeyGone) {
		t.Errorf("after the erasure: %v, want ErrKeyGone", err)
	}
	for _, path := range []string{key, filepath.Join(dir, "seal", ".tmp-left-behind")} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("the private half is still there: %s: %v", path, err)
		}
	}
	if got, err := opener.Open(t.Context(), b, pii); err != nil || string(got) != "identifier" {
		t.Errorf("PII: %q, %v", got, err)
	}

	// The clock goes back to before the erasure: nothing comes back, and the process that starts then makes new keys.
	c.move(-20 * time.Hour)
	again := open(t, dir, seal.Config{Create: true}, c)
	for _, o := range []*seal.Opener{opener, seal.NewOpener(again, store)} {
		if _, err := o.Open(t.Context(), b, e); !errors.Is(err, seal.ErrKeyGone) {
			t.Errorf("after the clock went back: %v, want ErrKeyGone", err)
		}
	}
}

// Without Maintain, the open at its time is refused all the same.
func TestErasureDoesNotWaitForMaintain(t *testing.T) {
	t.Parallel()
	c, store := newClock(), newStore()
	k := open(t, t.TempDir(), seal.Config{Create: true}, c)
	b := newBinding()
	e, err := seal.NewSealer(k, store, c).Seal(t.Context(), seal.AudiencePassword, b, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	opener := seal.NewOpener(k, store)
	if _, err := opener.Open(t.Context(), b, e); err != nil {
		t.Fatal(err)
	}
	c.move(25 * time.Hour)
	for range 2 {
		if _, err := opener.Open(t.Context(), b, e); !errors.Is(err, seal.ErrKeyGone) {
			t.Errorf("%v, want ErrKeyGone", err)
		}
	}
}

// Data keys leave the memory of a process that neither seals nor opens any more: a sealer's, which opens too, with its
// period, an opener's with the private half.
func TestDataKeysAreForgotten(t *testing.T) {
	t.Parallel()
	c, store := newClock(), newStore()
	k := open(t, t.TempDir(), seal.Config{Create: true}, c)
	sealer, opener := seal.NewSealer(k, store, c), seal.NewOpener(k, store)
	for _, a := range []seal.Audience{seal.AudiencePassword, seal.AudiencePII} {
		b := newBinding()
		e, err := sealer.Seal(t.Context(), a, b, []byte("secret"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := opener.Open(t.Context(), b, e); err != nil {
			t.Fatal(err)
		}
	}
	late := seal.NewSealer(k, store, c)
	store.setFail(errors.New("disk"))
	if _, err := late.Seal(t.Context(), seal.AudiencePassword, newBinding(), nil); err == nil || !late.Holds(seal.AudiencePassword) {
		t.Fatalf("no key waits to be stored: %v", err)
	}
	for _, step := range []struct {
		move    time.Duration
		holds   bool
		opening int
	}{{0, true, 2}, {time.Hour - time.Nanosecond, true, 2}, {time.Nanosecond, false, 2}, {24*time.Hour - time.Nanosecond, false, 2}, {time.Nanosecond, false, 1}} {
		now := c.move(step.move)
		if err := k.Maintain(now); err != nil {
			t.Fatal(err)
		}
		if got := sealer.Holds(seal.AudiencePassword); got != step.holds || late.Holds(seal.AudiencePassword) != got {
			t.Errorf("after %v the sealer holds the password key: %v", now.Sub(start), got)
		}
		if got := opener.Cached(); got != step.opening {
			t.Errorf("after %v the opener holds %d keys, want %d", now.Sub(start), got, step.opening)
		}
		if !sealer.Holds(seal.AudiencePII) {
			t.Errorf("after %v the key that has no end is gone", now.Sub(start))
		}
	}
}

func TestClockBackReusesNoNonce(t *testing.T) {
	t.Parallel()
	c, store := newClock(), newStore()
	k := open(t, t.TempDir(), seal.Config{Create: true}, c)
	sealer := seal.NewSealer(k, store, c)
	seen := map[string]bool{}
	for i, d := range []time.Duration{0, 61 * time.Minute, -2 * time.Hour, -24 * time.Hour, 30 * time.Hour, -time.Hour, 90 * time.Minute} {
		if err := k.Maintain(c.move(d)); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			e, err := sealer.Seal(t.Context(), seal.AudiencePassword, newBinding(), nil)
			if err != nil {
				t.Fatalf("step %d: %v", i, err)
			}
			if head := string(e[:25]); seen[head] {
				t.Fatalf("step %d: key and counter used twice", i)
			} else {
				seen[head] = true
			}
		}
	}
}

func TestSealNeedsDurableKey(t *testing.T) {
	t.Parallel()
	c, store := newClock(), newStore()
	k := open(t, t.TempDir(), seal.Config{Create: true}, c)
	sealer := seal.NewSealer(k, store, c)
	store.setFail(errors.New("disk full"))
	_, err := sealer.Seal(t.Context(), seal.AudiencePassword, newBinding(), nil)
	var e *reset.Error
	if !errors.As(err, &e) || e.Kind != reset.KindNotDurable || e.RetryAfter <= 0 || e.Detail == "" {
		t.Fatalf("%#v, want KindNotDurable with a time to come back", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := sealer.Seal(ctx, seal.AudiencePassword, newBinding(), nil); reset.KindOf(err) != reset.KindCanceled {
		t.Fatalf("%v, want KindCanceled", err)
	}
	store.setFail(nil)
	if _, err := sealer.Seal(t.Context(), seal.AudiencePassword, newBinding(), nil); err != nil {
		t.Fatal(err)
	}
	if n := store.count(); n != 1 {
		t.Errorf("%d keys stored, want the one", n)
	}
	// The key in use goes on while the store is away.
	store.setFail(errors.New("disk full"))
	if _, err := sealer.Seal(t.Context(), seal.AudiencePassword, newBinding(), nil); err != nil {
		t.Error(err)
	}
	c.move(time.Hour)
	if _, err := sealer.Seal(t.Context(), seal.AudiencePassword, newBinding(), nil); reset.KindOf(err) != reset.KindNotDurable {
		t.Errorf("a new period: %v, want KindNotDurable", err)
	}
}

func TestSecretsRedactThemselves(t *testing.T) {
	t.Parallel()
	dir, c, store := t.TempDir(), newClock(), newStore()
	k := open(t, dir, seal.Config{Create: true}, c)
	values := []any{k, k.Tickets(), k.Index(), seal.NewSealer(k, store, c), seal.NewOpener(k, store)}
	for _, v := range values {
		var out bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
			fmt.Fprintf(&out, verb, v)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "v", v)
		j, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(j)
		if n := strings.Count(out.String(), "redacted"); n < 8 && string(j) != "{}" || strings.Contains(out.String(), "0x") {
			t.Errorf("%T shows %s", v, out.String())
		}
	}
}

package seal_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/seal"
)

// A front has the public files alone: it seals, and cannot open.
func TestFront(t *testing.T) {
	t.Parallel()
	worker, front, c, store := t.TempDir(), t.TempDir(), newClock(), newStore()
	wk := open(t, worker, seal.Config{Create: true}, c)
	copyFiles(t, worker, front, ".pub", ".secret")
	fk := open(t, front, seal.Config{}, c)
	for _, p := range fk.Info() {
		if p.Private {
			t.Fatalf("the front has private half %s", p.ID)
		}
	}
	b := newBinding()
	sealer := seal.NewSealer(fk, store, c)
	e, err := sealer.Seal(t.Context(), seal.AudiencePassword, b, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := seal.NewOpener(fk, store).Open(t.Context(), b, e); err == nil || errors.Is(err, seal.ErrKeyGone) || errors.Is(err, seal.ErrTampered) {
		t.Errorf("the front opened %q, %v", got, err)
	}
	if got, err := seal.NewOpener(wk, store).Open(t.Context(), b, e); err != nil || string(got) != "secret" {
		t.Errorf("the worker opened %q, %v", got, err)
	}
	ref := reset.Ref{ID: reset.NewID(), Lane: reset.LaneHash, Seq: 7, AcceptTime: start}
	if got, err := wk.Tickets().Open(fk.Tickets().Seal(ref)); err != nil || got != ref {
		t.Errorf("ticket across processes: %+v, %v", got, err)
	}
	if wk.Index().Account("a") != fk.Index().Account("a") {
		t.Error("two processes hash the same account differently")
	}
	// The next period was announced and is here; the one after is not, until its file comes.
	c.move(time.Hour)
	if _, err := sealer.Seal(t.Context(), seal.AudiencePassword, b, nil); err != nil {
		t.Fatal(err)
	}
	c.move(time.Hour)
	if _, err := sealer.Seal(t.Context(), seal.AudiencePassword, b, nil); reset.KindOf(err) != reset.KindKeyUnknown {
		t.Fatalf("%v, want KindKeyUnknown", err)
	}
	if err := wk.Maintain(c.Now()); err != nil {
		t.Fatal(err)
	}
	copyFiles(t, worker, front, ".pub")
	if e, err = sealer.Seal(t.Context(), seal.AudiencePassword, b, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := seal.NewOpener(wk, store).Open(t.Context(), b, e); err != nil {
		t.Error(err)
	}
}

// Two workers share keys_dir: what one makes, the other finds by itself.
func TestOtherWorkersPair(t *testing.T) {
	t.Parallel()
	dir, c, store := t.TempDir(), newClock(), newStore()
	first := open(t, dir, seal.Config{Create: true}, c)
	second := open(t, dir, seal.Config{Create: true}, c)
	c.move(5 * time.Hour)
	b := newBinding()
	e, err := seal.NewSealer(first, store, c).Seal(t.Context(), seal.AudiencePassword, b, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := seal.NewOpener(second, store).Open(t.Context(), b, e); err != nil || string(got) != "secret" {
		t.Errorf("%q, %v", got, err)
	}
	if first.Index().Account("a") != second.Index().Account("a") {
		t.Error("two index keys in one folder")
	}
}

func TestConcurrentOpenKeyring(t *testing.T) {
	t.Parallel()
	dir, c := t.TempDir(), newClock()
	var wg sync.WaitGroup
	keys := make([]reset.Key, 8)
	ids := make([]string, len(keys))
	for i := range keys {
		wg.Go(func() {
			k, err := seal.OpenKeyring(dir, seal.Config{Create: true}, c)
			if err != nil {
				t.Error(err)
				return
			}
			keys[i] = k.Index().Account("a")
			if err := k.Maintain(c.Now()); err != nil {
				t.Error(err)
			}
			for _, p := range k.Info() {
				ids[i] += p.ID + " "
			}
		})
	}
	wg.Wait()
	for i := range keys {
		if keys[i] != keys[0] || ids[i] != ids[0] {
			t.Errorf("process %d has other keys than process 0: %s, %s", i, ids[i], ids[0])
		}
	}
}

func TestConcurrentRotation(t *testing.T) {
	t.Parallel()
	c, store := newClock(), newStore()
	k := open(t, t.TempDir(), seal.Config{Create: true, KeyPeriod: time.Minute, CachedDataKeys: 2}, c)
	sealer, opener := seal.NewSealer(k, store, c), seal.NewOpener(k, store)
	var heads sync.Map
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				b := newBinding()
				e, err := sealer.Seal(context.Background(), seal.AudiencePassword, b, []byte("secret"))
				if err != nil {
					t.Error(err)
					return
				}
				if _, dup := heads.LoadOrStore(string(e[:25]), true); dup {
					t.Error("key and counter used twice")
				}
				if _, err := opener.Open(context.Background(), b, e); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			if err := k.Maintain(c.move(20 * time.Second)); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	if n := store.count(); n > 10 {
		t.Errorf("%d data keys for 7 periods: some were made twice", n)
	}
}

func TestPermissions(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"tickets.secret", "index.secret", "password-20261123T190000.000Z.key", "pii-20261123T190000.000Z.key"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, c := t.TempDir(), newClock()
			open(t, dir, seal.Config{Create: true}, c)
			path := filepath.Join(dir, "seal", name)
			info, err := os.Stat(path)
			if err != nil || info.Mode() != 0o600 {
				t.Fatalf("%v, %v, want mode 0600", info, err)
			}
			if err := os.Chmod(path, 0o640); err != nil {
				t.Fatal(err)
			}
			_, err = seal.OpenKeyring(dir, seal.Config{Create: true}, c)
			if err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
				t.Errorf("%v, want the chmod that mends it", err)
			}
		})
	}
}

func TestMissingKeys(t *testing.T) {
	t.Parallel()
	if _, err := seal.OpenKeyring(t.TempDir(), seal.Config{}, newClock()); err == nil {
		t.Error("a keyring without keys")
	}
	dir, c := t.TempDir(), newClock()
	open(t, dir, seal.Config{Create: true}, c)
	if err := os.WriteFile(filepath.Join(dir, "seal", "index.secret"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := seal.OpenKeyring(dir, seal.Config{Create: true}, c); err == nil || !strings.Contains(err.Error(), "index.secret") {
		t.Errorf("%v, want an error that names the file", err)
	}
}

// A crash between the two halves leaves the public one out: the next Maintain writes it.
func TestPublicHalfIsMadeUpFor(t *testing.T) {
	t.Parallel()
	dir, c := t.TempDir(), newClock()
	open(t, dir, seal.Config{Create: true}, c)
	pub := filepath.Join(dir, "seal", "password-20261123T190000.000Z.pub")
	before, err := os.ReadFile(pub)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(pub); err != nil {
		t.Fatal(err)
	}
	open(t, dir, seal.Config{Create: true}, c)
	if after, err := os.ReadFile(pub); err != nil || !bytes.Equal(before, after) {
		t.Errorf("not written again: %v", err)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	if err := (seal.Config{}).Validate(); err != nil {
		t.Error(err)
	}
	want := seal.Config{KeyPeriod: time.Hour, LongestWait: 24 * time.Hour, CachedDataKeys: 1024}
	if got := (seal.Config{}).WithDefaults(); got != want {
		t.Errorf("defaults %+v, want %+v", got, want)
	}
	for field, cfg := range map[string]seal.Config{
		"KeyPeriod":      {KeyPeriod: time.Second},
		"LongestWait":    {LongestWait: -time.Hour},
		"CachedDataKeys": {CachedDataKeys: -1},
	} {
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func copyFiles(t *testing.T, from, to string, suffixes ...string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(to, "seal"), 0o700); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(from, "seal"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		for _, s := range suffixes {
			if !strings.HasSuffix(e.Name(), s) {
				continue
			}
			data, err := os.ReadFile(filepath.Join(from, "seal", e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(to, "seal", e.Name()), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

package hashpool_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"pgregory.net/rapid"

	"github.com/surgegate/surgegate/pkg/failure"
	"github.com/surgegate/surgegate/pkg/hashpool"
	"github.com/surgegate/surgegate/pkg/reset"
)

func newPool(tb testing.TB, cfg hashpool.Config) (*hashpool.Pool, *prometheus.Registry) {
	tb.Helper()
	r := prometheus.NewRegistry()
	p, err := hashpool.New(cfg, hashpool.Deps{Registerer: r})
	if err != nil {
		tb.Fatal(err)
	}
	return p, r
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	p, _ := newPool(t, hashpool.Config{})
	for scheme, prefix := range map[string]string{hashpool.SchemeArgon2id: "$argon2id$v=19$m=19456,t=2,p=1$", hashpool.SchemeBcrypt: "$2b$10$"} {
		if !p.CanMake(scheme) {
			t.Errorf("cannot make %s", scheme)
		}
		password := []byte("correct horse battery staple ü")
		phc, err := p.Hash(t.Context(), scheme, password)
		if err != nil || !strings.HasPrefix(phc, prefix) {
			t.Fatalf("%q, %v", phc, err)
		}
		again, err := p.Hash(t.Context(), scheme, password)
		if err != nil || again == phc {
			t.Errorf("%q, %v: the same salt twice", again, err)
		}
		if ok, err := p.Verify(t.Context(), phc, password); !ok || err != nil {
			t.Errorf("%s: %v, %v", phc, ok, err)
		}
		if ok, err := p.Verify(t.Context(), phc, password[1:]); ok || err != nil {
			t.Errorf("%s: another password: %v, %v", phc, ok, err)
		}
	}
	if _, err := p.Hash(t.Context(), "md5", []byte("x")); err == nil || p.CanMake("md5") {
		t.Error("md5 made")
	}
}

// Hashes that other programs made of known passwords.
func TestForeignHashes(t *testing.T) {
	t.Parallel()
	p, _ := newPool(t, hashpool.Config{})
	for _, c := range []struct{ phc, password string }{
		// The reference implementation's test.c (phc-winner-argon2).
		{"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "password"},
		{"$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA", "password"},
		{"$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc", "password"},
		// John the Ripper's and OpenBSD's.
		{"$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"},
		{"$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"},
		{"$2b$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK", "U*U*"},
	} {
		if ok, err := p.Verify(t.Context(), c.phc, []byte(c.password)); !ok || err != nil {
			t.Errorf("%s: %v, %v", c.phc, ok, err)
		}
		if ok, err := p.Verify(t.Context(), c.phc, []byte(c.password+"x")); ok || err != nil {
			t.Errorf("%s: another password: %v, %v", c.phc, ok, err)
		}
	}
}

// RFC 9106's own vectors (section 5) use a secret and associated data, which x/crypto/argon2 has no way to pass, so
// they cannot be run through it; these were made by the reference implementation for passwords alone.
func TestArgonLibrary(t *testing.T) {
	t.Parallel()
	got := fmt.Sprintf("%x", argon2.IDKey([]byte("password"), []byte("somesalt"), 2, 64<<10, 1, 32))
	if want := "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestCapsAreCheckedBeforeComputing(t *testing.T) {
	t.Parallel()
	p, r := newPool(t, hashpool.Config{MemoryBytes: 64 << 20})
	const salt, hash = "c29tZXNhbHQ", "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	for _, phc := range []string{
		"$argon2id$v=19$m=262145,t=2,p=1$" + salt + "$" + hash,
		"$argon2id$v=19$m=65537,t=2,p=1$" + salt + "$" + hash, // over this pool's budget
		"$argon2i$v=19$m=4294967295,t=1,p=1$" + salt + "$" + hash,
		"$argon2id$v=19$m=65536,t=11,p=1$" + salt + "$" + hash,
		"$argon2id$v=19$m=65536,t=4294967295,p=1$" + salt + "$" + hash,
		"$argon2id$v=19$m=65536,t=2,p=17$" + salt + "$" + hash,
		"$argon2id$v=19$m=65536,t=2,p=256$" + salt + "$" + hash,
		"$2b$16$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
		"$2b$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
	} {
		if ok, err := p.Verify(t.Context(), phc, []byte("password")); ok || !errors.Is(err, hashpool.ErrTooCostly) {
			t.Errorf("%s: %v, %v, want ErrTooCostly", phc, ok, err)
		}
	}
	for _, phc := range []string{
		"", "$", "password", "$argon2id$", "$argon2d$v=19$m=65536,t=2,p=1$" + salt + "$" + hash,
		"$argon2id$m=65536,t=2,p=1$" + salt + "$" + hash,                      // version 16
		"$argon2id$v=18$m=65536,t=2,p=1$" + salt + "$" + hash,                 // no such version
		"$argon2id$v=19$t=2,m=65536,p=1$" + salt + "$" + hash,                 // order
		"$argon2id$v=19$m=065536,t=2,p=1$" + salt + "$" + hash,                // leading zero
		"$argon2id$v=19$m=+65536,t=2,p=1$" + salt + "$" + hash,                // sign
		"$argon2id$v=19$m=65536,t=0,p=1$" + salt + "$" + hash,                 // x/crypto would panic
		"$argon2id$v=19$m=65536,t=2,p=0$" + salt + "$" + hash,                 // x/crypto would panic
		"$argon2id$v=19$m=4294967296,t=2,p=1$" + salt + "$" + hash,            // 33 bits
		"$argon2id$v=19$m=15,t=2,p=2$" + salt + "$" + hash,                    // under 8 KiB a lane
		"$argon2id$v=19$m=65536,t=2,p=1,x=1$" + salt + "$" + hash,             // more
		"$argon2id$v=19$m=65536,t=2,p=1$" + salt + "=$" + hash,                // padding
		"$argon2id$v=19$m=65536,t=2,p=1$" + salt + "\n$" + hash,               // line break
		"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHR$" + hash,                  // stray bits
		"$argon2id$v=19$m=65536,t=2,p=1$" + salt + "$" + hash + "$",           // more
		"$argon2id$v=19$m=65536,t=2,p=1$" + salt + "$CTFhFQ",                  // 4 bytes: guessed in seconds
		"$argon2id$v=19$m=65536,t=2,p=1$$" + hash,                             // no salt
		"$2b$10$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOe",         // short
		"$2b$10$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeWW",       // long
		"$2x$10$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",        // the broken one
		"$2b$03$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",        // under bcrypt's own floor
		"$2b$99$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",        // over bcrypt's own cap
		"$2b$1x$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",        // not a number
		"$2b$10$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyO\x00W",     // not its base64
		"$argon2id$v=19$m=65536,t=2,p=1$" + strings.Repeat("A", 600) + hash,   // endless
		"$argon2id$v=19$m=65536,t=2,p=1$" + strings.Repeat("$", 1<<16) + hash, // endless
	} {
		if ok, err := p.Verify(t.Context(), phc, []byte("password")); ok || !errors.Is(err, hashpool.ErrMalformed) {
			t.Errorf("%.100s: %v, %v, want ErrMalformed", phc, ok, err)
		}
	}
	// Nothing was computed for any of them.
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if h := m.GetHistogram(); h != nil && h.GetSampleCount() != 0 {
				t.Errorf("%d hashes were computed", h.GetSampleCount())
			}
		}
	}
}

func TestBcryptLimits(t *testing.T) {
	t.Parallel()
	p, _ := newPool(t, hashpool.Config{})
	password := []byte(strings.Repeat("x", 73))
	_, err := p.Hash(t.Context(), hashpool.SchemeBcrypt, password)
	var e *reset.Error
	if !errors.As(err, &e) || e.Kind != reset.KindWeakPassword || e.Info() != "PASSWORD_TOO_LONG" || !strings.Contains(e.Detail, "72") {
		t.Errorf("73 bytes: %v, want PASSWORD_TOO_LONG", err)
	}
	if _, err := p.Hash(t.Context(), hashpool.SchemeBcrypt, password[:72]); err != nil {
		t.Errorf("72 bytes: %v", err)
	}
	if _, err := p.Hash(t.Context(), hashpool.SchemeBcrypt, []byte("a\x00b")); reset.KindOf(err) != reset.KindInvalid {
		t.Errorf("NUL: %v, want KindInvalid", err)
	}
	if _, err := p.Hash(t.Context(), hashpool.SchemeArgon2id, []byte(strings.Repeat("x", 4000)+"\x00")); err != nil {
		t.Errorf("argon2id takes anything: %v", err)
	}
}

// While one hash has the pool, others wait, are counted, and can give up.
func TestBounds(t *testing.T) {
	t.Parallel()
	// A hash of 256 MiB takes the whole budget and lasts long enough to be seen.
	p, r := newPool(t, hashpool.Config{Slots: 1})
	if p.Slots() != 1 {
		t.Fatalf("%d slots", p.Slots())
	}
	var wg sync.WaitGroup
	first := make(chan struct{})
	wg.Go(func() {
		close(first)
		if _, err := p.Verify(context.Background(), "$argon2id$v=19$m=262144,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", nil); err != nil {
			t.Error(err)
		}
	})
	<-first
	for gauge(t, r, "surgegate_hashpool_slots_in_use") != 1 {
		runtime.Gosched()
	}
	if got := gauge(t, r, "surgegate_hashpool_memory_in_use_bytes"); got != 256<<20 {
		t.Errorf("memory in use %v, want 256 MiB", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	wg.Go(func() {
		if _, err := p.Hash(ctx, hashpool.SchemeArgon2id, []byte("x")); !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want context.Canceled", err)
		}
	})
	for gauge(t, r, "surgegate_hashpool_waiting") != 1 {
		runtime.Gosched()
	}
	cancel()
	late, stop := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer stop()
	if _, err := p.Hash(late, hashpool.SchemeArgon2id, []byte("x")); !errors.Is(err, context.DeadlineExceeded) || failure.Of(err).Code != failure.PoolFull {
		t.Errorf("%v, want that the pool is full", err)
	}
	wg.Wait()
	for _, name := range []string{"slots_in_use", "waiting", "memory_in_use_bytes"} {
		if got := gauge(t, r, "surgegate_hashpool_"+name); got != 0 {
			t.Errorf("%s is %v in the end", name, got)
		}
	}
	// What the waiter gave back is there again.
	if _, err := p.Hash(t.Context(), hashpool.SchemeArgon2id, []byte("x")); err != nil {
		t.Error(err)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	_, r := newPool(t, hashpool.Config{Slots: 1})
	if problems, err := testutil.GatherAndLint(r); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	// Every series is there from the start.
	if n, err := testutil.GatherAndCount(r); err != nil || n != 5+4 {
		t.Errorf("%d series, %v", n, err)
	}
	if got := gauge(t, r, "surgegate_hashpool_slots"); got != 1 {
		t.Errorf("slots %v", got)
	}
	if _, err := hashpool.New(hashpool.Config{}, hashpool.Deps{Registerer: r}); err == nil {
		t.Error("registered twice")
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	if err := (hashpool.Config{}).Validate(); err != nil {
		t.Error(err)
	}
	slots := max(1, runtime.GOMAXPROCS(0)-1)
	want := hashpool.Config{Slots: slots, MemoryBytes: max(256<<20, int64(slots)*19456<<10), ArgonKiB: 19456, ArgonTime: 2, ArgonParallelism: 1, BcryptCost: 10}
	if got := (hashpool.Config{}).WithDefaults(); got != want {
		t.Errorf("defaults %+v, want %+v", got, want)
	}
	for i, c := range []struct {
		field string
		cfg   hashpool.Config
	}{
		{"Slots", hashpool.Config{Slots: slots + 1}},
		{"Slots", hashpool.Config{Slots: -1}},
		{"MemoryBytes", hashpool.Config{MemoryBytes: 1 << 20}},
		{"MemoryBytes", hashpool.Config{MemoryBytes: -1}},
		{"ArgonTime", hashpool.Config{ArgonTime: 11}},
		{"ArgonTime", hashpool.Config{ArgonTime: 1}},
		{"ArgonKiB", hashpool.Config{ArgonKiB: 7167, ArgonTime: 10}},
		{"ArgonKiB", hashpool.Config{ArgonKiB: 19455, ArgonTime: 2}},
		{"ArgonKiB", hashpool.Config{ArgonKiB: 256<<10 + 1}},
		{"ArgonParallelism", hashpool.Config{ArgonParallelism: 17}},
		{"BcryptCost", hashpool.Config{BcryptCost: 9}},
		{"BcryptCost", hashpool.Config{BcryptCost: 16}},
	} {
		if err := c.cfg.Validate(); err == nil || !strings.Contains(err.Error(), c.field) {
			t.Errorf("%d: %v, want %s named", i, err, c.field)
		}
	}
	for _, c := range []hashpool.Config{{ArgonKiB: 47104, ArgonTime: 1}, {ArgonKiB: 12288, ArgonTime: 3}, {ArgonKiB: 9216, ArgonTime: 4}, {ArgonKiB: 7168, ArgonTime: 5}} {
		if err := c.Validate(); err != nil {
			t.Error(err)
		}
	}
}

func TestConcurrentHashesStayInBounds(t *testing.T) {
	t.Parallel()
	p, r := newPool(t, hashpool.Config{ArgonKiB: 7168, ArgonTime: 5})
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			if _, err := p.Hash(context.Background(), hashpool.SchemeArgon2id, []byte("x")); err != nil {
				t.Error(err)
			}
			// The others are in the middle of it.
			if got := gauge(t, r, "surgegate_hashpool_slots_in_use"); got > float64(p.Slots()) {
				t.Errorf("%v slots in use", got)
			}
		})
	}
	wg.Wait()
}

func gauge(t *testing.T, r *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Error(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Errorf("no metric %s", name)
	return -1
}

// Whatever string comes from a store: an answer or an error, soon, and never a match.
func FuzzVerify(f *testing.F) {
	for _, s := range []string{
		"$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
		"$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
		"$2b$04$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "$2a$", "$argon2id$v=19$$$",
	} {
		f.Add(s)
	}
	// A small budget keeps what the fuzzer finds cheap.
	p, err := hashpool.New(hashpool.Config{ArgonKiB: 7168, ArgonTime: 5, MemoryBytes: 8 << 20}, hashpool.Deps{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, phc string) {
		ok, err := p.Verify(context.Background(), phc, []byte("not the password of any seed"))
		if ok {
			t.Fatalf("%q matches", phc)
		}
		if err != nil && !errors.Is(err, hashpool.ErrMalformed) && !errors.Is(err, hashpool.ErrTooCostly) {
			t.Fatal(err)
		}
	})
}

func TestMadeHashesParse(t *testing.T) {
	t.Parallel()
	p, _ := newPool(t, hashpool.Config{ArgonKiB: 7168, ArgonTime: 5})
	rapid.Check(t, func(t *rapid.T) {
		if rapid.IntRange(0, 9).Draw(t, "skip") > 0 {
			return // a hash costs 15 ms
		}
		password := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "password")
		phc, err := p.Hash(context.Background(), hashpool.SchemeArgon2id, password)
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := p.Verify(context.Background(), phc, password); !ok || err != nil {
			t.Fatalf("%s: %v, %v", phc, ok, err)
		}
	})
}

func BenchmarkHash(b *testing.B) {
	p, _ := newPool(b, hashpool.Config{})
	b.Run("argon2id", func(b *testing.B) {
		b.ReportAllocs()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for b.Loop() {
			_, _ = p.Hash(context.Background(), hashpool.SchemeArgon2id, []byte("correct horse battery staple"))
		}
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.NumGC-before.NumGC)/float64(b.N), "GCs/op")
		b.ReportMetric(float64(after.PauseTotalNs-before.PauseTotalNs)/float64(b.N), "GC-pause-ns/op")
		b.ReportMetric(float64(after.HeapSys>>20), "heap-MiB")
	})
	b.Run("argon2id-bare", func(b *testing.B) { // the reference: the same without the pool
		salt := make([]byte, 16)
		for b.Loop() {
			argon2.IDKey([]byte("correct horse battery staple"), salt, 2, 19456, 1, 32)
		}
	})
	b.Run("bcrypt", func(b *testing.B) {
		for b.Loop() {
			_, _ = p.Hash(context.Background(), hashpool.SchemeBcrypt, []byte("correct horse battery staple"))
		}
	})
	b.Run("bcrypt-bare", func(b *testing.B) {
		for b.Loop() {
			_, _ = bcrypt.GenerateFromPassword([]byte("correct horse battery staple"), 10)
		}
	})
}

func ExampleNew() {
	pool, err := hashpool.New(hashpool.Config{}, hashpool.Deps{Registerer: prometheus.NewRegistry()})
	if err != nil {
		log.Fatal(err)
	}
	phc, err := pool.Hash(context.Background(), hashpool.SchemeArgon2id, []byte("correct horse battery staple"))
	if err != nil {
		log.Fatal(err)
	}
	ok, err := pool.Verify(context.Background(), phc, []byte("correct horse battery staple"))
	fmt.Println(phc[:30], ok, err)
	// Output: $argon2id$v=19$m=19456,t=2,p=1 true <nil>
}

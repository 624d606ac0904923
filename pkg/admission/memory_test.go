package admission_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/reset"
)

func ipOf(i int) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(i))
	return netip.AddrFrom4(b)
}

func keysOf(t testing.TB, registry *prometheus.Registry, kind string) int {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "surgegate_admission_keys" && m.GetLabel()[0].GetValue() == kind {
				return int(m.GetGauge().GetValue())
			}
		}
	}
	t.Fatal("no gauge of keys")
	return 0
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Not parallel: it reads the whole heap.
func TestMemoryOfAMillionClients(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	before := heap()
	a := newAdmission(t, admission.Config{MaxKeys: memoryClients, Global: rule(1e9, time.Second, 2e9)}, admission.Deps{Registerer: registry})
	for i := range memoryClients + memoryClients/4 { // at one time, so that no bucket refills
		_, _ = a.Admit(epoch, admission.Request{IP: ipOf(i)})
	}
	if n := keysOf(t, registry, "ip"); n != memoryClients {
		t.Errorf("%d keys, want the bound of %d", n, memoryClients)
	}
	used := int64(heap()) - int64(before)
	t.Logf("%d keys hold %d MiB: %d bytes a key", memoryClients, used>>20, used/memoryClients)
	if used > memoryClients*admission.KeyBytes {
		t.Errorf("%d bytes a key, the bound is %d", used/memoryClients, admission.KeyBytes)
	}
	// An hour later all have refilled; the next calls, as they come to each shard, give the memory back.
	const clients = memoryClients / 16
	later := epoch.Add(time.Hour)
	for i := range 2 * memoryClients {
		_, _ = a.Admit(later.Add(time.Duration(i)*10*time.Microsecond), admission.Request{IP: ipOf(i % clients)})
	}
	if n := keysOf(t, registry, "ip"); n > 2*clients {
		t.Errorf("%d keys are kept for %d clients", n, clients)
	}
	used = int64(heap()) - int64(before)
	t.Logf("afterwards %d KiB", used>>10)
	if used > memoryClients*admission.KeyBytes/4 {
		t.Errorf("%d bytes are kept after the storm", used)
	}
	runtime.KeepAlive(a)
}

// Clients that come once each at a steady rate are kept only while their buckets refill.
func TestKeysInUseAreKeptOthersNot(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	a := newAdmission(t, admission.Config{}, admission.Deps{Registerer: registry})
	const perSecond = 2000 // for 30 s; one token of 20/m refills in 3 s, so 6000 are in use at any time
	for i := range 30 * perSecond {
		now := epoch.Add(time.Duration(i) * time.Second / perSecond)
		if _, err := a.Admit(now, admission.Request{IP: ipOf(i), ClientID: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range []string{"ip", "id"} {
		if n := keysOf(t, registry, kind); n < 5900 || n > 3*6000 {
			t.Errorf("%d keys (%s) are kept, 6000 are in use", n, kind)
		}
	}
}

func TestAtTheBoundNewKeysShareABucket(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	a := newAdmission(t, admission.Config{MaxKeys: 10, Client: rule(20, time.Minute, 20)}, admission.Deps{Registerer: registry})
	for i := range 10 {
		if _, err := a.Admit(epoch, admission.Request{IP: ipOf(i)}); err != nil {
			t.Fatal(err)
		}
	}
	var permits []admission.Permit
	for i := range 20 { // one shard at this size: its overflow bucket holds 20
		p, err := a.Admit(epoch, admission.Request{IP: ipOf(100 + i)})
		if err != nil {
			t.Fatalf("newcomer %d: %v", i, err)
		}
		permits = append(permits, p)
	}
	_, err := a.Admit(epoch, admission.Request{IP: ipOf(1000)})
	wantKind(t, err, reset.KindLimitClient)
	for i := range 10 { // those who have a bucket keep it
		if _, err := a.Admit(epoch, admission.Request{IP: ipOf(i)}); err != nil {
			t.Fatalf("client %d: %v", i, err)
		}
	}
	permits[0].GiveBack(epoch)
	if _, err := a.Admit(epoch, admission.Request{IP: ipOf(1001)}); err != nil {
		t.Fatalf("what was given back is not there: %v", err)
	}
	if n := keysOf(t, registry, "ip"); n != 10 {
		t.Errorf("%d keys", n)
	}
	want := `
# HELP surgegate_admission_overflow_total Calls that met an overflow bucket because the bound of keys was reached.
# TYPE surgegate_admission_overflow_total counter
surgegate_admission_overflow_total{kind="id"} 0
surgegate_admission_overflow_total{kind="ip"} 22
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "surgegate_admission_overflow_total"); err != nil {
		t.Error(err)
	}
	// Refused or given back, a newcomer leaves no key behind; later there is room again.
	later := epoch.Add(time.Hour)
	for i := range 30 {
		if _, err := a.Admit(later.Add(time.Duration(i)*time.Minute), admission.Request{IP: ipOf(2000 + i)}); err != nil {
			t.Fatalf("later, newcomer %d: %v", i, err)
		}
	}
	if n := keysOf(t, registry, "ip"); n > 10 {
		t.Errorf("%d keys", n)
	}
}

func TestARefusedCallKeepsNoKey(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	a := newAdmission(t, admission.Config{Global: rule(1, time.Hour, 1)}, admission.Deps{Registerer: registry})
	for i := range 1000 {
		_, _ = a.Admit(epoch, admission.Request{IP: ipOf(i), ClientID: fmt.Sprint(i)})
	}
	if ips, ids := keysOf(t, registry, "ip"), keysOf(t, registry, "id"); ips != 1 || ids != 1 {
		t.Errorf("%d ips and %d ids are kept for one admitted call", ips, ids)
	}
}

package admission

import (
	"cmp"
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// LimitedClient is a client whose bucket refused calls, or would have refused them in a dry run.
type LimitedClient struct {
	Kind    string // ip or id
	Client  string // an IPv4 address, a /64 of IPv6, "unknown" for calls without a valid address; or the id
	Refused uint64 // in about the last minute; never too low
}

// A sketch counts in windows of 10 s. Seven of them cover the last minute.
const (
	windowSeconds = 10
	windows       = 7
)

const (
	// sketchKeys is how many keys each window of each shard counts. A count is too high by at most 1/16 of the shard's
	// refusals, which is 1/1024 of all with 64 shards. All sketches together take at most half a MiB.
	sketchKeys = 16
	// maxLimited is how many clients Limited names at most.
	maxLimited = 20
	// maxIDBytes is how many bytes of a client id are kept.
	maxIDBytes = 128
)

// sketch counts the refusals of a shard's keys in bounded memory, by the space-saving algorithm (A. Metwally, D. Agrawal, A.
// El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data Streams", ICDT 2005). A key without a counter
// takes over the smallest one, with its count. So a count is never too low, and too high by at most the smallest count.
// Counting costs a refusal 15 ns, or 80 ns in a flood in which no client comes twice (BenchmarkAdmit).
type sketch [windows]window

type window struct {
	number   int64 // of 10 s since 1970
	used     int
	counters [sketchKeys]counter
}

type counter struct {
	key   uint64
	count uint32
	over  uint32 // how much of count may belong to other keys
	name  string
}

// refuse counts a refusal of the key. name is the client id, or empty for an address.
func (h *lockedBucket) refuse(name string) {
	s := h.shard
	if s.refused == nil {
		s.refused = new(sketch)
	}
	s.refused.add(s.now, h.key, name)
}

// windowNumber returns the number of the window in which t is, counted from 1970.
func windowNumber(t time.Time) int64 { return t.Unix() / windowSeconds }

func (s *sketch) add(now time.Time, key uint64, name string) {
	n := windowNumber(now)
	w := &s[uint64(n)%windows]
	if w.number != n {
		*w = window{number: n}
	}
	least := 0
	for i := range w.counters[:w.used] {
		c := &w.counters[i]
		if c.key == key {
			c.count++
			return
		}
		if c.count < w.counters[least].count {
			least = i
		}
	}
	fresh := counter{key: key, count: 1, name: strings.Clone(name[:min(len(name), maxIDBytes)])}
	if w.used < sketchKeys {
		w.counters[w.used] = fresh
		w.used++
		return
	}
	fresh.over = w.counters[least].count
	fresh.count += fresh.over
	w.counters[least] = fresh
}

// tally is the sum of one key's counters over the last minute.
type tally struct {
	count, over uint64
	name        string
}

// sum adds up the windows of the last minute. If a key has no counter in a window without a free one, its count there may be
// as high as the smallest, so that is added to both count and over.
func (s *sketch) sum(now time.Time) map[uint64]*tally {
	all := make(map[uint64]*tally)
	last := windowNumber(now)
	current := func(w *window) bool { return w.used > 0 && w.number > last-windows && w.number <= last }
	for i := range s {
		if w := &s[i]; current(w) {
			for _, c := range w.counters[:w.used] {
				all[c.key] = &tally{name: c.name}
			}
		}
	}
	for i := range s {
		w := &s[i]
		if !current(w) {
			continue
		}
		unseen := uint32(0)
		if w.used == sketchKeys {
			unseen = slices.MinFunc(w.counters[:], func(a, b counter) int { return cmp.Compare(a.count, b.count) }).count
		}
		for key, t := range all {
			i := slices.IndexFunc(w.counters[:w.used], func(c counter) bool { return c.key == key })
			count, over := unseen, unseen
			if i >= 0 {
				count, over = w.counters[i].count, w.counters[i].over
			}
			t.count, t.over = t.count+uint64(count), t.over+uint64(over)
		}
	}
	return all
}

// Limited returns the clients that were refused most in the last minute, at most 20, most refused first. It names a client
// only if at least half of its count is certainly its own. So a flood from very many clients names nobody.
func (a *Admission) Limited() []LimitedClient {
	now := a.clock.Now()
	all := a.ips.limited(nil, now, "ip", func(key uint64, _ string) string { return ipText(key) })
	all = a.ids.limited(all, now, "id", func(_ uint64, name string) string { return name })
	slices.SortFunc(all, func(a, b LimitedClient) int {
		return cmp.Or(cmp.Compare(b.Refused, a.Refused), strings.Compare(a.Kind, b.Kind), strings.Compare(a.Client, b.Client))
	})
	return all[:min(len(all), maxLimited)]
}

func (t *table) limited(all []LimitedClient, now time.Time, kind string, text func(uint64, string) string) []LimitedClient {
	for i := range t.shards {
		for key, sum := range t.shards[i].tallies(now) {
			if 2*sum.over <= sum.count {
				all = append(all, LimitedClient{Kind: kind, Client: text(key, sum.name), Refused: sum.count})
			}
		}
	}
	return all
}

func (s *shard) tallies(now time.Time) map[uint64]*tally {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refused == nil {
		return nil
	}
	return s.refused.sum(now)
}

// ipText returns the address or network of a key that ipKey made.
func ipText(key uint64) string {
	if key == math.MaxUint64 {
		return "unknown"
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], key)
	if b[0] == 0xff {
		return netip.AddrFrom4([4]byte(b[4:8])).String()
	}
	return netip.PrefixFrom(netip.AddrFrom16(b), 64).String()
}

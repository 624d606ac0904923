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

// LimitedClient is one whose bucket refused calls, or would have in a dry run.
type LimitedClient struct {
	Kind    string // ip or id
	Client  string // an IPv4 address, a /64 of IPv6, "unknown" for calls without a valid address; or the id
	Refused uint64 // in the last minute, about: never too low
}

// A sketch counts over windows of 10 s; seven cover any last minute.
const (
	windowSeconds = 10
	windows       = 7
)

const (
	// sketchKeys are counted in each window of each shard: of a shard's refusals no count is off by more than one in 16, of all
	// in 64 shards one in 1024, in half a MiB at the most.
	sketchKeys = 16
	// mostLimited clients are named.
	mostLimited = 20
	// mostIDBytes of an id are kept.
	mostIDBytes = 128
)

// sketch counts the refusals of a shard's keys in bounded memory, by the space-saving algorithm (A. Metwally, D. Agrawal, A.
// El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data Streams", ICDT 2005): a key that has no counter
// takes over the least one and its count, so that counts are never too low, and too high by no more than the least.
type sketch [windows]window

type window struct {
	number   int64 // of 10 s since 1970
	used     int
	counters [sketchKeys]counter
}

type counter struct {
	key   uint64
	count uint32
	over  uint32 // what of it may be others'
	name  string
}

// refuse counts a refusal of the key, while its shard is held. The name is that of an id.
func (h *held) refuse(name string) {
	s := h.shard
	if s.refused == nil {
		s.refused = new(sketch)
	}
	s.refused.add(s.now, h.key, name)
}

func numberOf(t time.Time) int64 { return t.Unix() / windowSeconds }

func (s *sketch) add(now time.Time, key uint64, name string) {
	n := numberOf(now)
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
	fresh := counter{key: key, count: 1, name: strings.Clone(name[:min(len(name), mostIDBytes)])}
	if w.used < sketchKeys {
		w.counters[w.used] = fresh
		w.used++
		return
	}
	fresh.over = w.counters[least].count
	fresh.count += fresh.over
	w.counters[least] = fresh
}

// tally is what all windows of the last minute say of one key.
type tally struct {
	count, over uint64
	name        string
}

// sum adds the windows up. A key that has no counter in a window whose counters are used up may have had as many refusals there
// as the least of them.
func (s *sketch) sum(now time.Time) map[uint64]*tally {
	all := make(map[uint64]*tally)
	last := numberOf(now)
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

// Limited names the clients that were refused most in the last minute, most first, at most 20: those of whose count at least
// half is surely theirs. Where a flood comes from so many clients that none stands out, it names none.
func (a *Admission) Limited() []LimitedClient {
	now := a.clock.Now()
	all := a.ips.limited(nil, now, "ip", func(key uint64, _ string) string { return ipText(key) })
	all = a.ids.limited(all, now, "id", func(_ uint64, name string) string { return name })
	slices.SortFunc(all, func(a, b LimitedClient) int {
		return cmp.Or(cmp.Compare(b.Refused, a.Refused), strings.Compare(a.Kind, b.Kind), strings.Compare(a.Client, b.Client))
	})
	return all[:min(len(all), mostLimited)]
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

// ipText is the inverse of ipKey.
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

package admission

import (
	"hash/maphash"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
)

// table holds the buckets of one kind of key. A bucket that has refilled equals a fresh one, so it is dropped: each
// access looks at one or two buckets of its shard and drops them if they are full, which keeps the table at about the
// buckets in use without a goroutine. At maxKeys, new keys share the overflow bucket of their shard.
type table struct {
	maxKeys  int64
	keys     atomic.Int64
	overflow prometheus.Counter // takes and refusals at an overflow bucket
	seed     maphash.Seed       // so that nobody can aim at one shard
	shards   []shard            // a power of two
}

type shard struct {
	mu       sync.Mutex
	now      time.Time  // the latest seen: the clamp of all its buckets
	limit    rate.Limit // the rule's, here so that it changes under the lock that every call holds anyway
	burst    int
	index    map[uint64]*bucket
	buckets  []*bucket // the same ones, for the hand
	hand     int
	overflow *rate.Limiter
	refused  *sketch  // nil until somebody is
	_        [24]byte // to 128 bytes: two shards share no cache line, nor its pair
}

type bucket struct {
	rate.Limiter
	key      uint64
	position int32 // in shard.buckets
}

const (
	maxShards    = 64  // far more than cores that admit at once
	minShardKeys = 256 // so that shards fill about evenly
)

func newTable(rule Rule, maxKeys int, overflow prometheus.Counter) *table {
	shards := 1
	for shards < maxShards && maxKeys/(2*shards) >= minShardKeys {
		shards *= 2
	}
	t := &table{maxKeys: int64(maxKeys), overflow: overflow, seed: maphash.MakeSeed(), shards: make([]shard, shards)}
	for i := range t.shards {
		s := &t.shards[i]
		s.limit, s.burst = rate.Limit(rule.Rate.PerSecond()), rule.Burst
		s.index = make(map[uint64]*bucket)
		s.overflow = rate.NewLimiter(s.limit, s.burst)
	}
	return t
}

// set changes the rule of all buckets, shard after shard: measured, 0.6 µs a key, so at the bound of 8192 keys a shard its
// callers wait 5 ms once, while those of the other 63 do not. What a bucket holds it keeps, up to the new burst.
func (t *table) set(now time.Time, rule Rule) {
	for i := range t.shards {
		t.shards[i].set(now, rate.Limit(rule.Rate.PerSecond()), rule.Burst)
	}
}

func (s *shard) set(now time.Time, limit rate.Limit, burst int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.After(s.now) {
		s.now = now
	}
	s.limit, s.burst = limit, burst
	change := func(l *rate.Limiter) {
		l.SetLimitAt(s.now, limit) // first: it counts what has refilled at the old rate
		l.SetBurstAt(s.now, burst)
	}
	change(s.overflow)
	for _, b := range s.buckets {
		change(&b.Limiter)
	}
}

// idKey is 64 bits of a keyed hash: two of a million ids share a bucket with a chance of 3 in 10^8, and a long id
// costs no memory.
func (t *table) idKey(id string) uint64 { return maphash.String(t.seed, id) }

// ipKey returns the address (IPv4, also mapped into IPv6) or the /64 network (IPv6). Addresses that are not valid
// share one key. IPv4 and invalid go where IPv6 has multicast networks, which are nobody's source address.
func ipKey(ip netip.Addr) uint64 {
	ip = ip.Unmap()
	switch {
	case ip.Is4():
		b := ip.As4()
		return 0xff00_0000_0000_0000 | uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])
	case ip.Is6():
		b := ip.As16()
		var key uint64
		for _, x := range b[:8] {
			key = key<<8 | uint64(x)
		}
		return key
	default:
		return math.MaxUint64
	}
}

// held is the bucket of one key while its shard is locked.
type held struct {
	table   *table
	shard   *shard
	limiter *rate.Limiter
	key     uint64
	// Neither: the key's own bucket.
	fresh    bool // no bucket yet; a place among maxKeys is reserved
	overflow bool // the shard's overflow bucket
}

// lock locks the key's shard.
func (t *table) lock(now time.Time, key uint64) *shard {
	s := &t.shards[maphash.Comparable(t.seed, key)&uint64(len(t.shards)-1)]
	s.mu.Lock()
	if now.After(s.now) {
		s.now = now
	}
	return s
}

// hold locks the key's shard and finds its bucket. Between hold and release nothing may block but a hold in another
// table, always in the same order.
func (t *table) hold(now time.Time, key uint64) held {
	s := t.lock(now, key)
	t.sweep(s) // before the look: it may drop the very bucket
	h := held{table: t, shard: s, key: key}
	if b, ok := s.index[key]; ok {
		h.limiter = &b.Limiter
		return h
	}
	t.sweep(s) // two looks for each new key, so that the hand overtakes them
	if t.keys.Add(1) > t.maxKeys {
		t.keys.Add(-1)
		t.overflow.Inc()
		h.limiter, h.overflow = s.overflow, true
		return h
	}
	h.fresh = true
	return h
}

// holds reports whether the bucket holds a token.
func (h *held) holds() bool { return h.fresh || h.limiter.TokensAt(h.shard.now) >= 1 }

// take takes a token that the bucket holds.
func (h *held) take() took {
	if !h.fresh {
		h.limiter.AllowN(h.shard.now, 1)
		if h.overflow {
			return tookOverflow
		}
		return tookOwn
	}
	s := h.shard
	b := &bucket{Limiter: *rate.NewLimiter(s.limit, s.burst), key: h.key, position: int32(len(s.buckets))}
	b.AllowN(s.now, 1)
	s.index[h.key] = b
	s.buckets = append(s.buckets, b)
	h.fresh = false
	return tookOwn
}

// wait returns how long it takes until the bucket holds a token.
func (h *held) wait() time.Duration {
	if h.fresh {
		return 0
	}
	missing := 1 - h.limiter.TokensAt(h.shard.now)
	return time.Duration(max(missing, 0) / float64(h.shard.limit) * float64(time.Second))
}

func (h *held) release() {
	if h.fresh {
		h.table.keys.Add(-1)
	}
	h.shard.mu.Unlock()
}

// giveBack returns a token to the bucket that it was taken from. A key's own bucket that was dropped meanwhile was
// full, so there is nothing to return.
func (t *table) giveBack(now time.Time, key uint64, overflow bool) {
	s := t.lock(now, key)
	defer s.mu.Unlock()
	if overflow {
		s.overflow.AllowN(s.now, -1)
	} else if b, ok := s.index[key]; ok {
		b.AllowN(s.now, -1)
	}
}

// sweep looks at the bucket under the shard's hand and drops it if it has refilled.
func (t *table) sweep(s *shard) {
	if len(s.buckets) == 0 {
		return
	}
	s.hand %= len(s.buckets)
	b := s.buckets[s.hand]
	if b.TokensAt(s.now) < float64(s.burst) {
		s.hand++
		return
	}
	last := s.buckets[len(s.buckets)-1]
	s.buckets[b.position], last.position = last, b.position
	s.buckets[len(s.buckets)-1] = nil
	s.buckets = s.buckets[:len(s.buckets)-1]
	delete(s.index, b.key)
	t.keys.Add(-1)
	if cap(s.buckets) > minShardKeys && len(s.buckets) < cap(s.buckets)/8 {
		s.shrink()
	}
}

// shrink gives back the memory of a storm: maps and slices do not shrink by themselves. It costs one step for each of
// the seven times as many keys that were dropped before it.
func (s *shard) shrink() {
	s.buckets = append(make([]*bucket, 0, 2*len(s.buckets)), s.buckets...)
	s.index = make(map[uint64]*bucket, 2*len(s.buckets))
	for _, b := range s.buckets {
		s.index[b.key] = b
	}
}

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

// table holds the buckets of one kind of key. A bucket that has refilled equals a new one, so it can be dropped. Each access
// looks at one or two buckets of its shard and drops them if they are full. So the table stays at about the size of the
// buckets in use, without a goroutine. At maxKeys, new keys share the overflow bucket of their shard.
type table struct {
	maxKeys  int64
	keys     atomic.Int64
	overflow prometheus.Counter // counts calls that met an overflow bucket
	seed     maphash.Seed       // random, so that nobody can aim at one shard
	shards   []shard            // a power of two
}

type shard struct {
	mu       sync.Mutex
	now      time.Time  // the latest time of any call; its buckets get no earlier one
	limit    rate.Limit // the rule's; here, because every call holds this lock anyway
	burst    int
	index    map[uint64]*bucket
	buckets  []*bucket // the same ones, in the order in which dropIfFull looks at them
	hand     int       // the position in buckets of the next one
	overflow *rate.Limiter
	refused  *sketch  // nil until the first refusal
	_        [24]byte // padding to 128 bytes, so that two shards share neither a cache line nor a pair of them
}

type bucket struct {
	rate.Limiter
	key      uint64
	position int32 // in shard.buckets
}

const (
	maxShards    = 64  // far more than the cores that admit at once
	minShardKeys = 256 // keys a shard at which shards fill about evenly
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

// setRule changes the rule of all buckets, shard after shard. A key takes 0.6 µs, so callers of a shard with 8192 keys wait 5 ms
// once. A bucket keeps its tokens, up to the new burst.
func (t *table) setRule(now time.Time, rule Rule) {
	for i := range t.shards {
		t.shards[i].setRule(now, rate.Limit(rule.Rate.PerSecond()), rule.Burst)
	}
}

func (s *shard) setRule(now time.Time, limit rate.Limit, burst int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.After(s.now) {
		s.now = now
	}
	s.limit, s.burst = limit, burst
	change := func(l *rate.Limiter) {
		l.SetLimitAt(s.now, limit) // before the burst: it adds what has refilled at the old rate
		l.SetBurstAt(s.now, burst)
	}
	change(s.overflow)
	for _, b := range s.buckets {
		change(&b.Limiter)
	}
}

// idKey returns 64 bits of a keyed hash, so that a long id costs no memory. The chance that any two of a million ids share a
// bucket is 3 in 10^8.
func (t *table) idKey(id string) uint64 { return maphash.String(t.seed, id) }

// ipKey returns a key for the address (IPv4, also mapped into IPv6) or the /64 network (IPv6). Addresses that are not valid
// share one key. The keys of IPv4 and of invalid addresses are those of IPv6 multicast networks, which no client comes from.
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

// lockedBucket is the bucket of one key, while the key's shard is locked.
type lockedBucket struct {
	table   *table
	shard   *shard
	limiter *rate.Limiter
	key     uint64
	// If both are false, limiter is the key's own bucket.
	fresh    bool // the key has no bucket yet; one of maxKeys is reserved for it
	overflow bool // the shard's overflow bucket
}

// lock locks the key's shard and moves its time forward.
func (t *table) lock(now time.Time, key uint64) *shard {
	s := &t.shards[maphash.Comparable(t.seed, key)&uint64(len(t.shards)-1)]
	s.mu.Lock()
	if now.After(s.now) {
		s.now = now
	}
	return s
}

// lockBucket locks the key's shard and finds its bucket. The caller must call unlock. In between it must not block, except for a
// lockBucket in another table: always ips before ids.
func (t *table) lockBucket(now time.Time, key uint64) lockedBucket {
	s := t.lock(now, key)
	t.dropIfFull(s) // before the look-up, because it may drop this very bucket
	h := lockedBucket{table: t, shard: s, key: key}
	if b, ok := s.index[key]; ok {
		h.limiter = &b.Limiter
		return h
	}
	t.dropIfFull(s) // a second time for each new key, so that dropping keeps up with adding
	if t.keys.Add(1) > t.maxKeys {
		t.keys.Add(-1)
		t.overflow.Inc()
		h.limiter, h.overflow = s.overflow, true
		return h
	}
	h.fresh = true
	return h
}

// hasToken reports whether the bucket has a token.
func (h *lockedBucket) hasToken() bool { return h.fresh || h.limiter.TokensAt(h.shard.now) >= 1 }

// take takes a token, which the bucket must have. It makes the key's bucket if the key has none.
func (h *lockedBucket) take() tokenSource {
	if !h.fresh {
		h.limiter.AllowN(h.shard.now, 1)
		if h.overflow {
			return sourceOverflow
		}
		return sourceOwn
	}
	s := h.shard
	b := &bucket{Limiter: *rate.NewLimiter(s.limit, s.burst), key: h.key, position: int32(len(s.buckets))}
	b.AllowN(s.now, 1)
	s.index[h.key] = b
	s.buckets = append(s.buckets, b)
	h.fresh = false
	return sourceOwn
}

// wait returns how long it takes until the bucket has a token.
func (h *lockedBucket) wait() time.Duration {
	if h.fresh {
		return 0
	}
	missing := 1 - h.limiter.TokensAt(h.shard.now)
	return time.Duration(max(missing, 0) / float64(h.shard.limit) * float64(time.Second))
}

func (h *lockedBucket) unlock() {
	if h.fresh {
		h.table.keys.Add(-1)
	}
	h.shard.mu.Unlock()
}

// giveBack returns a token to the bucket from which it was taken. If the key's own bucket was dropped meanwhile, it was full
// and there is nothing to return.
func (t *table) giveBack(now time.Time, key uint64, overflow bool) {
	s := t.lock(now, key)
	defer s.mu.Unlock()
	if overflow {
		s.overflow.AllowN(s.now, -1)
	} else if b, ok := s.index[key]; ok {
		b.AllowN(s.now, -1)
	}
}

// dropIfFull looks at the next bucket of the shard, in turn, and drops it if it has refilled.
func (t *table) dropIfFull(s *shard) {
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

// shrink frees the memory of a storm, because maps and slices do not shrink by themselves. It copies the remaining keys; at
// least seven times as many were dropped since the last time.
func (s *shard) shrink() {
	s.buckets = append(make([]*bucket, 0, 2*len(s.buckets)), s.buckets...)
	s.index = make(map[uint64]*bucket, 2*len(s.buckets))
	for _, b := range s.buckets {
		s.index[b.key] = b
	}
}

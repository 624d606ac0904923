package embedded

import (
	"fmt"
	"hash/maphash"

	"github.com/cockroachdb/pebble/v2"
)

// memtableFilter tells which open keys and marks may be in a memtable. A memtable has no filter of its own, and a look-up of
// an absent key in its skip list costs a cache miss per level; in profiles of StartReset that was most of the committer's
// time. A key that is in no memtable is looked up in tables only, where Bloom filters answer. The answer "may be" can be
// wrong, the answer "is not" never is:
//
//   - Every key is added before its batch is applied, so before it reaches a memtable.
//   - current collects the keys. When it is full, Pebble is asked to flush the memtables, current becomes previous, and a
//     new current begins. previous is dropped only when that flush is done: then all its keys are in tables.
//
// It is used by the committer alone, under Engine.mu. A Bloom filter library would not replace the part above, and what it
// would replace is twenty lines.
type memtableFilter struct {
	maxKeys  int // keys in current at which the next flush begins
	seed     maphash.Seed
	current  *bloomFilter
	previous *bloomFilter    // nil when all its keys are in tables
	flushed  <-chan struct{} // closed when the flush that began with previous is done
}

// bloomFilter is a Bloom filter with 16 bits a key and 4 probes: at maxKeys about 1 absent key in 400 is reported present.
type bloomFilter struct {
	matchAll bool // reports every key present: for what was in the log at Open
	keys     int  // additions so far
	bits     []uint64
}

// defaultFilterKeys makes a filter of 512 KiB, which stays in the processor's cache.
const defaultFilterKeys = 1 << 18

// newMemtableFilter begins with a flush: until it is done every key may be in a memtable.
func newMemtableFilter(db *pebble.DB, maxKeys int) (*memtableFilter, error) {
	r := &memtableFilter{maxKeys: maxKeys, seed: maphash.MakeSeed(), current: newBloomFilter(maxKeys), previous: &bloomFilter{matchAll: true}}
	var err error
	r.flushed, err = db.AsyncFlush()
	return r, err
}

func newBloomFilter(maxKeys int) *bloomFilter { return &bloomFilter{bits: make([]uint64, maxKeys/4)} }

func (r *memtableFilter) add(key []byte) {
	if key[0] != prefixOpen && key[0] != prefixMark {
		return
	}
	r.current.keys++
	h := maphash.Bytes(r.seed, key)
	for i := range uint64(4) {
		bit := (h + i*(h>>32|1)) % uint64(64*len(r.current.bits))
		r.current.bits[bit/64] |= 1 << (bit % 64)
	}
}

func (r *memtableFilter) mayContain(key []byte) bool {
	h := maphash.Bytes(r.seed, key)
	return r.current.mayContain(h) || r.previous != nil && r.previous.mayContain(h)
}

func (g *bloomFilter) mayContain(h uint64) bool {
	if g.matchAll {
		return true
	}
	for i := range uint64(4) {
		bit := (h + i*(h>>32|1)) % uint64(64*len(g.bits))
		if g.bits[bit/64]&(1<<(bit%64)) == 0 {
			return false
		}
	}
	return true
}

// rotate begins a new filter when current is full and the flush of previous is done. It is called after the group's batch
// was applied, so that the flush covers every key in current.
func (r *memtableFilter) rotate(db *pebble.DB) error {
	if r.previous != nil {
		select {
		case <-r.flushed:
			r.previous = nil
		default:
			return nil
		}
	}
	if r.current.keys < r.maxKeys {
		return nil
	}
	flushed, err := db.AsyncFlush()
	if err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	r.previous, r.current, r.flushed = r.current, newBloomFilter(r.maxKeys), flushed
	return nil
}

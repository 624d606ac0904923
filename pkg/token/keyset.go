package token

import (
	"slices"
	"strings"
	"time"
)

// keySet is the keys of one moment. Once it is published in Keys.set it is never changed, only replaced.
type keySet struct {
	byID map[keyID]*key
	list []*key // by active time, then id
}

func (s *keySet) add(k *key) {
	s.byID[k.id] = k
	i, _ := slices.BinarySearchFunc(s.list, k, func(a, b *key) int { return strings.Compare(string(a.id[:]), string(b.id[:])) })
	s.list = slices.Insert(s.list, i, k)
}

// without returns a set that lacks the keys for whose index drop is true.
func (s *keySet) without(drop func(int) bool) *keySet {
	kept := &keySet{byID: make(map[keyID]*key, len(s.list))}
	for i, k := range s.list {
		if !drop(i) {
			kept.add(k)
		}
	}
	return kept
}

// signingKey returns the newest key whose active time has come and whose private half is here. If no time has come yet (a clock was set
// back), it returns the oldest one. It returns nil if there is no private key.
func (s *keySet) signingKey(now time.Time) *key {
	var best *key
	for _, k := range s.list {
		if k.private != nil && (best == nil || !k.id.activeTime().After(now)) {
			best = k
		}
	}
	return best
}

// state returns the state of the key at i.
func (s *keySet) state(i int, now time.Time) State {
	switch {
	case s.list[i].id.activeTime().After(now):
		return StateAnnounced
	case i+1 < len(s.list) && !s.list[i+1].id.activeTime().After(now):
		return StateVerifyOnly
	default:
		return StateActive
	}
}

// goneTime returns when the key at i, which must have a successor, is not needed any more.
func (s *keySet) goneTime(i int, cfg Config) time.Time {
	return s.list[i+1].id.activeTime().Add(LongestTTL + cfg.LongestWait)
}

// isGone says whether the key at i is not needed any more.
func (s *keySet) isGone(i int, cfg Config, now time.Time) bool {
	return i+1 < len(s.list) && !now.Before(s.goneTime(i, cfg))
}

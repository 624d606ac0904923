package token

import (
	"slices"
	"strings"
	"time"
)

// keySet is never changed, only replaced.
type keySet struct {
	byID map[keyID]*key
	list []*key // by active time, then id
}

func (s *keySet) add(k *key) {
	s.byID[k.id] = k
	i, _ := slices.BinarySearchFunc(s.list, k, func(a, b *key) int { return strings.Compare(string(a.id[:]), string(b.id[:])) })
	s.list = slices.Insert(s.list, i, k)
}

func (s *keySet) without(drop func(int) bool) *keySet {
	kept := &keySet{byID: make(map[keyID]*key, len(s.list))}
	for i, k := range s.list {
		if !drop(i) {
			kept.add(k)
		}
	}
	return kept
}

// signing is the newest key whose time has come and whose private half is here; before any time has come (a clock
// that went back) the oldest one.
func (s *keySet) signing(now time.Time) *key {
	var best *key
	for _, k := range s.list {
		if k.private != nil && (best == nil || !k.id.activeTime().After(now)) {
			best = k
		}
	}
	return best
}

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

func (s *keySet) goneTime(i int, cfg Config) time.Time {
	return s.list[i+1].id.activeTime().Add(cfg.LongestTTL + cfg.LongestWait)
}

func (s *keySet) gone(i int, cfg Config, now time.Time) bool {
	return i+1 < len(s.list) && !now.Before(s.goneTime(i, cfg))
}

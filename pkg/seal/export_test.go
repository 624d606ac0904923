package seal

// Cached returns how many data keys the opener holds.
func (o *Opener) Cached() int {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return len(o.cache)
}

// Holds reports whether the sealer holds a data key.
func (s *Sealer) Holds(a Audience) bool {
	return s.slots[a].current.Load() != nil || s.slots[a].pending != nil
}

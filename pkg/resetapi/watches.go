package resetapi

import (
	"net/netip"
	"sync"
)

// watchLimit bounds the tickets that one connection may watch at once. The caller's address and port name the connection; a
// stats handler could name it too, but would cost every call.
type watchLimit struct {
	limit int
	mu    sync.Mutex
	open  map[netip.AddrPort]int // connections without watches are not in it
}

func newWatchLimit(limit int) *watchLimit {
	return &watchLimit{limit: limit, open: map[netip.AddrPort]int{}}
}

// acquire counts one watch of the connection until release is called. ok is false if the connection has reached the limit.
func (w *watchLimit) acquire(conn netip.AddrPort) (release func(), ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open[conn] >= w.limit {
		return nil, false
	}
	w.open[conn]++
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.open[conn]--; w.open[conn] == 0 {
			delete(w.open, conn)
		}
	}, true
}

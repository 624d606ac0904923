package edge

import (
	"net"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// cappedListener closes connections over the cap at once and counts both kinds. x/net/netutil.LimitListener would leave them in the
// backlog, where a client waits for a server that never answers.
type cappedListener struct {
	net.Listener
	slots   chan struct{} // one element for each open connection; its capacity is the cap
	open    prometheus.Gauge
	refused prometheus.Counter
}

// Accept implements net.Listener.
func (l *cappedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.slots <- struct{}{}:
			l.open.Inc()
			return &cappedConn{Conn: conn, release: sync.OnceFunc(func() {
				<-l.slots
				l.open.Dec()
			})}, nil
		default:
			l.refused.Inc()
			_ = conn.Close() // the connection is refused: nobody waits for the outcome
		}
	}
}

type cappedConn struct {
	net.Conn
	release func()
}

// Close implements net.Conn.
func (c *cappedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

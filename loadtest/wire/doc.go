// Package wire is a unary gRPC client for load generators: thousands of calls in flight on a few shared HTTP/2
// connections, without a goroutine, a timer or garbage for each.
//
// # Why not grpc-go
//
// Calls per CPU-second of the client, plaintext on loopback to the same grpc-go echo server, two cores shared with it:
//
//	k6 v1.8.1, 4–64 users                                   9,000
//	grpc-go, a goroutine a call, open loop at 15,000/s     24,000
//	ghz v0.93.0, 4–16 connections, 64–256 workers          31,000
//	grpc-go, 64–1024 goroutines that call without a pause  29,000–38,000
//
// A generator on grpc-go is ghz once more: to reach three times ghz takes a client that does less. What this one leaves out:
// streams, compression, interceptors, resolvers, balancing policies, a goroutine and a timer per call. Frames and header
// compression are golang.org/x/net/http2's.
//
// # How it works
//
// Client.Run owns all goroutines: for each connection one that reads and one that writes, for each slot (a target's place for a
// connection) one that connects, and Run's own, which looks every 4 ms after deadlines and silent servers while calls are in
// flight. Call writes the call's frames into its connection's buffer under a short lock; the writer sends what has come together
// in one write. The reader calls Done.
//
//	slot        connecting ──SETTINGS──▶ ready ──GOAWAY, last stream id, lost──▶ connecting
//	            connecting ──failed──▶ backing off ──▶ (dial again; calls do not wait for it) ──SETTINGS──▶ ready
//	connection  open ──GOAWAY, last stream id──▶ draining ──its last call ended──▶ closed
//	            open, draining ──lost, silent──▶ closed
//	call        parked (no connection yet) ─▶ waiting (for a stream or a window) ─▶ sent ─▶ Done
//
// Connections that are ready take calls round robin, over targets first; a target that is down is so skipped. While none is ready
// but one is being made for the first time or after a GOAWAY or a loss, calls are parked; when that fails, and while all slots back
// off, calls fail at once, as with a gRPC client that does not wait for ready.
//
// # Failure rules
//
//   - A deadline counts from Call, wherever the call waits; it is enforced here, within 8 ms: DEADLINE_EXCEEDED, Local, and the
//     stream is reset with CANCEL. The server is told what is left as grpc-timeout.
//   - The server's MAX_CONCURRENT_STREAMS, windows and frame size are kept: calls wait in order.
//   - GOAWAY: a new connection is made at once, while calls on the old one finish. Streams above its last stream id, and those
//     reset with REFUSED_STREAM, have not been touched by the server: they are tried again, once, on another connection. The second
//     time they are UNAVAILABLE.
//   - A connection that is lost makes its calls UNAVAILABLE and Local, for nobody knows what the server did; those that had
//     no stream yet go to another.
//   - A connection that was asked something and says nothing for Config.Silence is pinged, at most once in PingInterval, and
//     given up if it says nothing for PingTimeout. A server that never answers but acknowledges pings is alive.
//   - Connecting again backs off exponentially, with jitter. A connection that lasted less than BackoffBase counts as failed.
//   - A response that breaks gRPC's rules (no trailers, no message with OK, compressed, two messages, another content type) fails
//     its call with the code that grpc-go gives; one that breaks HTTP/2's ends the connection or the stream, as RFC 9113 says.
//   - When Run's context ends, calls that have no reply get CANCELED, Local. A call made before Run waits for it.
//   - Done is called exactly once for each Call.
//
// # Memory
//
// Calls are pooled with their buffers, up to 16 KiB each; a connection's buffer holds 256 KiB and what one more call adds. Nothing
// grows with the number of calls made, only with those in flight, which MaxInFlight bounds.
package wire

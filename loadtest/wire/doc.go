// Package wire is a unary gRPC client for load generators: thousands of calls in flight on a few HTTP/2 connections, without a
// goroutine, a timer or garbage for each. It exists because a generator on grpc-go is no cheaper than ghz; loadtest/bench
// measures both (`storm bench --only generator`). It has no streams, compression, interceptors, resolvers or balancing
// policies. Frames and header compression are golang.org/x/net/http2's.
//
// # How it works
//
// Client.Run owns all goroutines: two for each connection (reader, writer), one for each slot that connects, and its own, which
// checks deadlines and silent servers every 4 ms. Call writes the call's frames into its connection's buffer under a short lock;
// the writer sends what has accumulated. The reader calls Done.
//
//	slot        connecting ──SETTINGS──▶ ready ──GOAWAY, last stream id, lost──▶ connecting
//	            connecting ──failed──▶ backing off ──▶ (dial again; calls do not wait for it) ──SETTINGS──▶ ready
//	connection  open ──GOAWAY, last stream id──▶ draining ──its last call ended──▶ closed
//	            open, draining ──lost, silent──▶ closed
//	call        parked (no connection yet) ─▶ waiting (for a stream or a window) ─▶ sent ─▶ Done
//
// Ready connections take calls in turn, over targets first. While none is ready but one is being made, calls are parked. While all
// slots back off, calls fail at once.
//
// # Failure rules
//
//   - A deadline counts from Call and is enforced within 8 ms: DEADLINE_EXCEEDED, Local, and the stream is reset with CANCEL.
//   - The server's limits (streams, windows, frame size) are kept; calls wait in order.
//   - Streams that the server has not touched (above GOAWAY's last id, REFUSED_STREAM) are tried once more on another connection,
//     then UNAVAILABLE.
//   - A lost connection makes its calls UNAVAILABLE and Local; those without a stream go to another connection.
//   - A connection that is silent for Config.Silence is pinged, and closed if it does not answer within PingTimeout.
//   - Connecting backs off exponentially with jitter. A connection that lasted less than BackoffBase counts as failed.
//   - A response that breaks gRPC's rules fails its call with the code that grpc-go gives. One that breaks HTTP/2's rules ends the
//     connection or the stream, as RFC 9113 says.
//   - When Run's context ends, calls without a reply get CANCELED, Local. A call made before Run waits for it.
//   - Done is called exactly once for each Call.
//
// Memory grows only with the calls in flight, which MaxInFlight bounds.
package wire

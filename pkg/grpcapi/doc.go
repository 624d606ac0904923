// Package grpcapi is the edge: the gRPC servers for front ends and operators, and the HTTP server for metrics and
// health. It checks what comes in, tells who calls, hands the rest to gate and queue, and turns their errors into the
// statuses of the error table in proto/README.md. It decides nothing about resets.
//
// # A call's way
//
//	conn ─ cap ─ TLS ─ HTTP/2 limits ─► size, decoding ─► (span) ─► metrics ─► guard (panic, status) ─► handler ─► gate
//
// # States of a Server
//
//	New ─► Start ─► serving ──Drain──► draining ──Stop──► stopped
//	                   └──────────────Stop──────────────────┘
//
// Drain ends the public side: health says NOT_SERVING, connections get GOAWAY, watches end with DRAINING, calls under
// way may finish until ctx ends. Operator and HTTP stay until Stop, so that a drain can be watched.
//
// # Decisions
//
//   - grpc-go itself refuses a message that is over the limit (RESOURCE_EXHAUSTED) or that it cannot decode (INTERNAL). It does so
//     before any interceptor of a unary call runs, so these answers have no pushback and are not counted.
//   - Stream workers, other buffer sizes and the shared write buffer were measured and left at grpc-go's defaults: none
//     showed above the noise. The whole edge costs about 1.1 times the CPU of a bare call (bench_test.go).
//   - A compressed request is unpacked up to the limit of a message, and no further.
//   - A connection over the cap is closed at once, not left in the backlog: the balancer then tries another replica.
//   - A call's span begins before its request is read (Deps.Trace, a stats handler). A traceparent is read from trusted callers
//     only, as a Client is; a stranger's would choose what is kept, and put his calls into traces of others. Methods that
//     there are not have none, since a stranger makes up their names. Without tracing there is no handler, and the transport
//     takes its way without one.
//   - RetryAfter comes jittered from whoever refuses; only where nobody knows a time is it made up here: 0.5 to 1.5 s.
//   - Trust is decided by connection: an address in a CIDR or a verified certificate's DNS or URI name. The Client of
//     anybody else is ignored whole, locale and verdict included, and counted.
//   - The operators' service is another package's (operatorapi); here it gets its listener and who calls. Its streams end,
//     as all do, when the server drains.
//
// # Failure rules
//
// A panic is INTERNAL, counted, and logged by type and stack only, since its value may hold a password. A cause never
// reaches the wire. Causes of INTERNAL are logged at most once a second. A certificate that cannot be reloaded keeps
// the old one and is counted; so does an operator tokens file with a broken line, but one that names nobody any more lets
// nobody in. Requests are never logged; with grpc-go's binary logging or the HTTP/2 library's frame log
// (GODEBUG=http2debug) on, New refuses to start.
package grpcapi

// Package edge is where calls come in: the gRPC servers of front ends and operators, and the HTTP server of metrics and health. It
// bounds connections and messages, terminates TLS, finds out who is calling, and guards handlers against panics. Package resetapi
// handles the public calls; the operators' service is passed in (Deps.Operator).
//
// # The way of a call
//
//	connection cap ─► TLS ─► HTTP/2 limits ─► deadline (deadline.go) ─► span ─► size, decoding ─► metrics ─► guard ─► handler
//
// # States of a Server
//
//	New ─► Start ─► serving ──Drain──► draining ──Stop──► stopped
//	                   └──────────────Stop──────────────────┘
//
// Drain ends the public side: health says NOT_SERVING, connections get GOAWAY, watches end with DRAINING, and calls under way may
// finish until ctx ends. The operator and HTTP servers stay until Stop, so that a drain can be watched.
//
// # Decisions
//
//   - grpc-go itself refuses a message that is over the limit (RESOURCE_EXHAUSTED) or that it cannot decode (INTERNAL). It does so
//     before any interceptor of a unary call runs, so these answers have no pushback and are not counted.
//   - A compressed request is unpacked up to the limit of a message, and no further.
//   - A connection over the cap is closed at once instead of waiting in the backlog, so a load balancer tries another replica.
//   - A caller is trusted by its connection: by an address range, or by the DNS or URI name of a verified certificate.
//   - A trace id is taken from trusted callers only: a stranger's would choose what is kept, and put calls into traces of others. Without
//     tracing there is no stats handler, because it would cost every call.
//   - Stream workers, other buffer sizes and the shared write buffer were measured and are left at grpc-go's defaults.
//
// # Failure rules
//
// A panic is INTERNAL, counted, and logged by type and stack only, since its value may hold a password. Causes of INTERNAL are
// logged at most once a second and never reach the wire. Requests are never logged: New refuses to start with grpc-go's binary log or
// the HTTP/2 library's frame log (GODEBUG=http2debug) on. A certificate or operator tokens file that cannot be reloaded leaves the old
// one in use, and is counted. A tokens file that names nobody any more lets nobody in.
package edge

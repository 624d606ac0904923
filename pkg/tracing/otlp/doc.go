// Package otlp sends traces to an OpenTelemetry collector over OTLP/gRPC. It is the one importer of OpenTelemetry's SDK and
// exporter and of otelgrpc; pkg/tracing says what is traced.
//
// # A span's way
//
//	ended ─► room? ─► batch of up to 512, or 1 s ─► attributes not in tracing.Keys, events, status texts dropped ─► collector
//	          │ no: Config.QueueSpans are on their way                                                    │ refused, or no answer
//	          └──────────────► surgegate_trace_dropped_total ◄──────────────────────────────────────────────┘
//
// # What is kept
//
// A call whose caller is trusted and sent a traceparent is kept or not as that says; any other by Config.Ratio of the trace
// ids. A stranger's traceparent is not read: he would choose what is sampled, and whose trace his call is shown in. Nobody's
// tracestate or baggage is: they are free text. A span that is linked to a kept one (a batch) is kept.
//
// # Failure rules
//
//   - A collector that is slow or dead delays nothing but its own exports: no call waits, and the spans on their way are
//     bounded. What it does not take within Config.Timeout, tries included, is counted and gone. It is logged once a minute.
//   - Close sends what is on its way until its context ends or Config.FlushTime is over, then counts the rest as
//     dropped. It waits for every goroutine.
//   - Nothing of the process's global OpenTelemetry state is used or set. OTEL_EXPORTER_OTLP_HEADERS (a collector's
//     credentials) and OTEL_RESOURCE_ATTRIBUTES are read by the SDK as usual.
package otlp

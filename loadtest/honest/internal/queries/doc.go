// Package queries finds every expression that dashboards and rules ask Prometheus.
//
// Boards are classic Grafana JSON: panels, rows with panels inside, annotations. Template variables become what they match:
// job and instance the real ones, constants and text boxes their own value, the first of an interval's values, and .+ for the
// others. $__rate_interval is four scrapes, as Grafana makes it. Rules are files with groups; what else lies beside them
// (Prometheus's configuration, promtool's tests) has none and is left out.
//
// # Failure rules
//
// A folder without a query, a file that cannot be read, a variable that its dashboard does not have, and a rule without an
// expression are errors: that dashboards are missing must not pass for dashboards that are well.
package queries

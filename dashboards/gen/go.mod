module github.com/surgegate/surgegate/dashboards/gen

go 1.26.7

replace github.com/surgegate/surgegate => ../..

require github.com/grafana/grafana-foundation-sdk/go v0.0.18

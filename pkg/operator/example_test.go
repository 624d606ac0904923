package operator_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/operator"
	"github.com/surgegate/surgegate/pkg/queue/embedded"
	"github.com/surgegate/surgegate/pkg/reset"
)

// One target; a dry run says what setting it would do.
func ExampleNewOverrides() {
	dir, err := os.MkdirTemp("", "operator")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }() // the example's own
	records, err := embedded.Open(embedded.Config{Dir: dir}, embedded.Deps{Fatal: func(err error) { fmt.Println(err) }})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = records.Close() }() // nothing is left to write
	weight := 8.0
	overrides, err := operator.NewOverrides(operator.OverridesDeps{
		Records: records, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
		Targets: []operator.Target{{
			Name: "lane/start/weight", Kind: "lane", Action: "set_lane_weight",
			Check:      func(operator.Setting, *reset.Violations) {},
			Describe:   func(s operator.Setting) string { return fmt.Sprint("weight ", s.Weight) },
			InForce:    func() string { return fmt.Sprint("weight ", weight) },
			Configured: func() string { return "weight 8" },
			Apply:      func(s operator.Setting) error { weight = s.Weight; return nil },
			Revert:     func() error { weight = 8; return nil },
		}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	change, err := overrides.Set(context.Background(), operator.Request{Setting: operator.Setting{
		Target: "lane/start/weight", LaneSetting: operator.LaneSetting{Weight: 2},
	}, DryRun: true})
	fmt.Println(change.Before, "->", change.After, err, "in force:", weight)
	// Output: weight 8 -> weight 2 <nil> in force: 8
}

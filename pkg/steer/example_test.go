package steer_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/queue/embedded"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/steer"
)

// A book with one knob: what it would do is asked first.
func ExampleNew() {
	dir, err := os.MkdirTemp("", "steer")
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
	book, err := steer.New(steer.Config{}, steer.Deps{
		Records: records, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
		Knobs: []steer.Knob{{
			Target: "lane/start/weight", Kind: steer.KindLane, Action: steer.ActionLaneWeight,
			Check:      func(steer.Setting, *reset.Violations) {},
			Words:      func(s steer.Setting) string { return fmt.Sprint("weight ", s.Weight) },
			InForce:    func() string { return fmt.Sprint("weight ", weight) },
			Configured: func() string { return "weight 8" },
			Apply:      func(s steer.Setting) error { weight = s.Weight; return nil },
			Revert:     func() error { weight = 8; return nil },
		}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	change, err := book.Set(context.Background(), steer.Request{Setting: steer.Setting{Target: "lane/start/weight", Weight: 2}, DryRun: true})
	fmt.Println(change.Before, "->", change.After, err, "in force:", weight)
	// Output: weight 8 -> weight 2 <nil> in force: 8
}

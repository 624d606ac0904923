package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/surgegate/surgegate/loadtest/compare"
	"github.com/surgegate/surgegate/loadtest/direct"
	"github.com/surgegate/surgegate/loadtest/victim"
)

// Flags and library have the same defaults.
func TestFlagsHaveTheLibrarysDefaults(t *testing.T) {
	t.Parallel()
	v, d := victim.Config{}.WithDefaults(), compare.Config{}.WithDefaults()
	for _, c := range []struct {
		command, flag string
		want          any
	}{
		{"victim", "accounts", v.Accounts},
		{"victim", "workers", v.Workers},
		{"victim", "hash", v.HashTime},
		{"victim", "memory", v.MemoryBound},
		{"victim", "batch", v.MaxSetBatch},
		{"victim", "cold", v.ColdFor},
		{"victim", "knee", v.Knee},
		{"victim", "sigma", v.Sigma},
		{"victim", "batched", v.Batched},
		{"victim", "batch-time", v.BatchTime},
		{"victim", "latency", v.Latency},
		{"victim", "spread", v.Spread},
		{"victim", "noise", v.Noise},
		{"victim", "max-calls", v.MaxCalls},
		{"victim", "control", v.Control},
		{"victim", "restart", victim.DefaultRestartDelay},
		{"direct", "timeout", direct.DefaultStoreTimeout},
		{"demo", "out", d.Out},
		{"demo", "seed", d.Seed},
		{"demo", "thin", d.Thin},
	} {
		cmd, _, err := root().Find([]string{c.command})
		if err != nil {
			t.Fatal(err)
		}
		flag := cmd.Flags().Lookup(c.flag)
		if flag == nil {
			t.Errorf("storm %s has no --%s", c.command, c.flag)
			continue
		}
		if want := fmt.Sprint(c.want); flag.DefValue != want {
			t.Errorf("storm %s --%s is %s by default, the library's is %s", c.command, c.flag, flag.DefValue, want)
		}
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]int{
		compare.ErrBroken: 99, fmt.Errorf("wrapped: %w", compare.ErrInvalid): 3, fmt.Errorf("other after %v", time.Second): 1,
	} {
		if got := exitCode(err); got != want {
			t.Errorf("%v: exit %d, want %d", err, got, want)
		}
	}
}

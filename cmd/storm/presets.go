package main

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// presetOf are the kinds of stores that limiters are known to go wrong with; each sets a few of victim's flags.
func presetOf() map[string]map[string]string {
	return map[string]map[string]string{
		"workers":    {},
		"heavy-tail": {"spread": "2"},
		"contention": {"knee": "24", "sigma": "0.05"},
		"fragile":    {"max-calls": "12"},
		"batch":      {"batched": "true", "batch-time": "20ms", "hash": "1ms"},
		"slow":       {"latency": "400ms"},
		"noise":      {"noise": "0.01"},
	}
}

func presetNames() []string {
	return []string{"workers", "heavy-tail", "contention", "fragile", "batch", "slow", "noise"}
}

// preset sets what the model is made of, but for what was set by hand.
func preset(name string, flags *pflag.FlagSet) error {
	if name == "" {
		return nil
	}
	model, ok := presetOf()[name]
	if !ok {
		return fmt.Errorf("storm: --model: there is no %q; there are %s (steps, stalls and crashes are done to any of them at --control)", name, strings.Join(presetNames(), ", "))
	}
	for flag, value := range model {
		if flags.Changed(flag) {
			continue
		}
		if err := flags.Set(flag, value); err != nil {
			return fmt.Errorf("storm: --model %s: %w", name, err)
		}
	}
	return nil
}

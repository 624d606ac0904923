// Package preset names stores that a victim can be: those that storm bench judges the gateway by, and storm victim --model.
//
// Each sets 40 to 60 passwords a second, so that nine of them fit two processors together with gateways and clients. What
// happens to a store while it runs (a stall, half of its capacity) is no preset: its control endpoint does that.
package preset

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/surgegate/surgegate/loadtest/victim"
)

// Preset is a store with a name.
type Preset struct {
	Name, About string
	Store       victim.Config // without what every victim has of its own: Address, Ledger, Accounts, Control
}

// All are those that there are.
func All() []Preset {
	line := victim.Config{Workers: 6, HashTime: 120 * time.Millisecond, Spread: .5, MaxSetBatch: 1, MaxLookup: 8}
	heavy := line
	heavy.Spread = 2
	dies := func(calls int) victim.Config {
		c := contended(8, 80*time.Millisecond)
		c.MaxCalls = calls
		return c
	}
	noisy := contended(12, 110*time.Millisecond)
	noisy.Noise = .01
	slow := line
	slow.Latency = 480 * time.Millisecond
	return []Preset{
		{"workers", "6 workers and a line", line},
		{"heavy-tail", "the same, and some passwords take many times as long as others", heavy},
		{"contention", "USL, knee 24: past 24 calls inside, more of them get less done", contended(24, 200*time.Millisecond)},
		{"knee-12", "USL, knee 12", contended(12, 110*time.Millisecond)},
		{"fragile", "USL, knee 8; dies past 12 calls (1.5x)", dies(12)},
		{"fragile-2x", "USL, knee 8; dies past 16 calls", dies(16)},
		{"fragile-3x", "USL, knee 8; dies past 24 calls", dies(24)},
		{"slow", "6 workers; each answer 480 ms later, capacity as that of workers: slow, but healthy", slow},
		{"noise", "USL, knee 12; 1 % of calls fail", noisy},
		{"batch", "2 workers that take batches whole, 200 ms + 20 ms a password, up to 16", victim.Config{
			Workers: 2, Batched: true, BatchTime: 200 * time.Millisecond, HashTime: 20 * time.Millisecond, Spread: .3, MaxSetBatch: 16, MaxLookup: 8,
		}},
	}
}

func contended(knee int, hash time.Duration) victim.Config {
	return victim.Config{Knee: knee, Sigma: .03, HashTime: hash, Spread: .5, MaxSetBatch: 1, MaxLookup: 8}
}

// ByName is one of them.
func ByName(name string) (Preset, error) {
	all := All()
	if i := slices.IndexFunc(all, func(p Preset) bool { return p.Name == name }); i >= 0 {
		return all[i], nil
	}
	names := make([]string, 0, len(all))
	for _, p := range all {
		names = append(names, p.Name)
	}
	return Preset{}, fmt.Errorf("preset: there is no store model %q; there are %s", name, strings.Join(names, ", "))
}

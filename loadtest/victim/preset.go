package victim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Preset is a store with a name, for storm bench and storm victim --model. Each sets 40 to 60 passwords a second, so that nine of them fit
// two processors together with gateways and clients.
type Preset struct {
	Name, About string
	Store       Config // without what every victim has of its own: Address, Ledger, Accounts, Control
}

// Presets lists all presets.
func Presets() []Preset {
	line := Config{Workers: 6, HashTime: 120 * time.Millisecond, Spread: .5, MaxSetBatch: 1, MaxLookup: 8}
	heavy := line
	heavy.Spread = 2
	dies := func(calls int) Config {
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
		{"batch", "2 workers that take batches whole, 200 ms + 20 ms a password, up to 16", Config{
			Workers: 2, Batched: true, BatchTime: 200 * time.Millisecond, HashTime: 20 * time.Millisecond, Spread: .3, MaxSetBatch: 16, MaxLookup: 8,
		}},
	}
}

func contended(knee int, hash time.Duration) Config {
	return Config{Knee: knee, Sigma: .03, HashTime: hash, Spread: .5, MaxSetBatch: 1, MaxLookup: 8}
}

// PresetByName returns the preset of that name, or an error that lists the names.
func PresetByName(name string) (Preset, error) {
	all := Presets()
	if i := slices.IndexFunc(all, func(p Preset) bool { return p.Name == name }); i >= 0 {
		return all[i], nil
	}
	names := make([]string, 0, len(all))
	for _, p := range all {
		names = append(names, p.Name)
	}
	return Preset{}, fmt.Errorf("preset: there is no store model %q; there are %s", name, strings.Join(names, ", "))
}

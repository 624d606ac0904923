package victim

import (
	"strings"
	"testing"
)

func TestEveryPresetIsAStoreOfThatSize(t *testing.T) {
	t.Parallel()
	for _, p := range Presets() {
		cfg := p.Store
		cfg.Address, cfg.Ledger = "127.0.0.1:0", "ledger"
		if err := cfg.WithDefaults().Validate(); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
		if c := cfg.Capacity(); c < 40 || c > 62 {
			t.Errorf("%s sets %.1f passwords a second", p.Name, c)
		}
		if got, err := PresetByName(p.Name); err != nil || got != p {
			t.Errorf("%s: %+v, %v", p.Name, got, err)
		}
	}
	if _, err := PresetByName("x"); err == nil || !strings.Contains(err.Error(), "fragile-2x") {
		t.Error(err)
	}
}

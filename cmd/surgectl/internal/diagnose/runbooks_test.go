package diagnose_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/surgegate/surgegate/cmd/surgectl/internal/diagnose"
	"github.com/surgegate/surgegate/cmd/surgectl/internal/scene"
)

// Whoever is sent to a runbook finds it.
func TestEveryRunbookIsThere(t *testing.T) {
	t.Parallel()
	for name, s := range scene.All() {
		for _, runbook := range diagnose.Of(s).Runbooks {
			if _, err := os.Stat(filepath.Join("..", "..", "..", "..", "dashboards", "runbooks", runbook+".md")); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

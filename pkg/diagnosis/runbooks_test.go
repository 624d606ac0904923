package diagnosis_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/surgegate/surgegate/pkg/diagnosis"
	"github.com/surgegate/surgegate/pkg/diagnosis/scene"
)

// Whoever is sent to a runbook finds it.
func TestEveryRunbookIsThere(t *testing.T) {
	t.Parallel()
	for name, s := range scene.All() {
		for _, runbook := range diagnosis.Once(s, nil).GetRunbooks() {
			if _, err := os.Stat(filepath.Join("..", "..", "dashboards", "runbooks", runbook+".md")); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

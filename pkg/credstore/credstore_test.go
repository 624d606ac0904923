package credstore_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/surgegate/surgegate/pkg/credstore"
)

func TestSecretsRedactThemselves(t *testing.T) {
	t.Parallel()
	const canary = "CANARY"
	var printed bytes.Buffer
	for _, value := range []any{
		credstore.Secret(canary), []credstore.Secret{canary}, map[string]credstore.Secret{"k": canary},
		credstore.Account{ID: "a", CurrentHash: canary}, &credstore.Account{CurrentHash: canary},
		credstore.Change{AccountID: "a", Password: canary}, []credstore.Change{{Password: canary}},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%c", "%t", "%!"} {
			fmt.Fprintf(&printed, verb+"\n", value)
		}
		if err := json.NewEncoder(&printed).Encode(value); err != nil {
			t.Fatal(err)
		}
		slog.New(slog.NewJSONHandler(&printed, nil)).Info("x", "v", value)
		slog.New(slog.NewTextHandler(&printed, nil)).Info("x", "v", value)
	}
	for _, secret := range []string{canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), "67 65 78 65 82 89"} {
		if strings.Contains(printed.String(), secret) {
			t.Errorf("%s in %s", secret, printed.String())
		}
	}
	if credstore.Secret(canary).Reveal() != canary {
		t.Error("it cannot be revealed")
	}
}

func TestOutcomeNames(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for o := credstore.Applied; o <= credstore.RetryItem; o++ {
		if name := o.String(); name == "unknown" || seen[name] {
			t.Errorf("outcome %d is %q", o, name)
		}
		seen[o.String()] = true
	}
	if credstore.Outcome(0).String() != "unknown" {
		t.Error("0 is no outcome")
	}
}

package model

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestAScenarioOfOnesOwn(t *testing.T) {
	t.Parallel()
	s, err := parse("ours.yaml", []byte(`
like: plex-2022
name: ours
people: 2000000
mailing: 3h
sign_out: false
loop: {calls: 10, rate: 2, from: 5m}
faults: ["store-dark at 20m for 5m", "gateway-kill at 1h"]
`))
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "ours" || s.People != 2e6 || s.Mailing != 3*time.Hour || s.SignOut || s.StartHour != 22 || s.ResetShare != .46 || s.Loop.From != 5*time.Minute {
		t.Errorf("%+v", s)
	}
	want := []Fault{{Kind: StoreDark, At: 20 * time.Minute, For: 5 * time.Minute}, {Kind: GatewayKill, At: time.Hour}}
	if !slices.Equal(s.Faults, want) {
		t.Errorf("faults %v, want %v", s.Faults, want)
	}
}

func TestFaultsOfAFile(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"people: 5\npoeple: 6\n":           "ours.yaml:2: unknown field \"poeple\"",
		"people: many\n":                   "ours.yaml:1:",
		"mailing: 3\nname: [\n":            "ours.yaml:",
		"like: plex\n":                     "there is no scenario",
		"people: 5\nreset_share: 1.5\n":    "reset_share is 1.5",
		"faults: [\"store-melt at 1s\"]\n": "store-melt",
		"mailing: tomorrow\n":              "invalid duration \"tomorrow\"",
		"loop: {calls: 5}\npeople: 1\n":    "a loop needs a rate",
		"people: 1\npeople: 2\n":           "ours.yaml:2:",
	} {
		if _, err := parse("ours.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, err := Load("/nowhere/at/all"); err == nil {
		t.Error("a file that is not there was loaded")
	}
}

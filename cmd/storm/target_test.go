package main

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestGuard(t *testing.T) {
	t.Parallel()
	lookup := func(_ context.Context, host string) ([]netip.Addr, error) {
		switch host {
		case "staging.corp.example":
			return []netip.Addr{netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("fd00::1")}, nil
		case "half.example":
			return []netip.Addr{netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("203.0.113.9")}, nil
		default:
			return nil, errors.New("no such host")
		}
	}
	for name, c := range map[string]struct {
		targets  []string
		terminal bool
		yes      bool
		answer   string
		refused  bool
		fault    string
	}{
		"loopback":                    {targets: []string{"127.0.0.1:7600", "[::1]:7600"}},
		"private":                     {targets: []string{"192.168.1.4:7600", "staging.corp.example:443", "[::ffff:10.0.0.1]:1"}},
		"a stranger in a pipe":        {targets: []string{"203.0.113.9:443"}, refused: true},
		"a stranger with --yes":       {targets: []string{"203.0.113.9:443"}, yes: true},
		"one stranger of two":         {targets: []string{"half.example:443"}, refused: true},
		"confirmed":                   {targets: []string{"half.example:443"}, terminal: true, answer: "half.example\n"},
		"confirmed once for each":     {targets: []string{"half.example:443", "half.example:444", "203.0.113.9:1"}, terminal: true, answer: "half.example\n203.0.113.9\n"},
		"confirmed without line end":  {targets: []string{"half.example:443"}, terminal: true, answer: "half.example"},
		"a yes is not enough":         {targets: []string{"half.example:443"}, terminal: true, answer: "yes\n", refused: true},
		"no answer":                   {targets: []string{"half.example:443"}, terminal: true, refused: true},
		"mapped stranger":             {targets: []string{"[::ffff:203.0.113.9]:443"}, refused: true},
		"no such host, even with yes": {targets: []string{"nowhere.example:443"}, yes: true, fault: "cannot be resolved"},
		"no port":                     {targets: []string{"127.0.0.1"}, fault: "no host:port"},
		"nothing":                     {fault: "none given"},
	} {
		var out bytes.Buffer
		err := Guard{In: strings.NewReader(c.answer), Out: &out, Terminal: c.terminal, Yes: c.yes, Lookup: lookup}.Check(t.Context(), c.targets)
		switch {
		case c.fault != "":
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%s: %v, want %q", name, err, c.fault)
			}
		case errors.Is(err, ErrRefused) != c.refused:
			t.Errorf("%s: %v", name, err)
		}
	}
}

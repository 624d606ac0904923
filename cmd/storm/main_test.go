package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/surgegate/surgegate/loadtest/compare"
	"github.com/surgegate/surgegate/loadtest/people"
	"github.com/surgegate/surgegate/loadtest/rehearse"
	"github.com/surgegate/surgegate/loadtest/victim"
)

// Flags and library have the same defaults.
func TestFlagsHaveTheLibrarysDefaults(t *testing.T) {
	t.Parallel()
	v, d := victim.Config{}.WithDefaults(), compare.Config{}.WithDefaults()
	r, s, p := rehearse.Config{}.WithDefaults(), rehearse.Shape{}.WithDefaults(), people.Config{}.WithDefaults()
	type check struct {
		command, flag string
		want          any
	}
	checks := []check{
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
		{"direct", "timeout", victim.DefaultStoreTimeout},
		{"demo", "out", d.Out},
		{"demo", "seed", d.Seed},
		{"demo", "thin", d.Thin},
		{"victim", "lookup", v.LookupTime},
		{"victim", "revoke", v.RevokeTime},
		{"victim", "lookup-batch", v.MaxLookup},
		{"victim", "request-memory", v.RequestMemory},
		{"victim", "seed", v.Seed},
		{"victim", "mute", v.Mute},
		{"victim", "accounts", victim.PostgresConfig{}.WithDefaults().Accounts},
		{"victim", "init", victim.PostgresConfig{}.Init},
		{"victim", "insecure", victim.PostgresConfig{}.Insecure},
		{"compare", "scenario", d.Scenario.Name},
		{"compare", "out", d.Out},
		{"compare", "seed", d.Seed},
		{"compare", "thin", d.Thin},
		{"compare", "rounds", d.Rounds},
		{"compare", "length", d.Length},
		{"compare", "lead", d.Lead},
		{"compare", "limit", d.ArmLimit},
		{"compare", "patient-limit", d.PatientLimit},
		{"run", "max-lag", r.MaxLag},
		{"run", "limit", r.Limit},
		{"run", "identifier", r.Identifier},
		{"run", "accounts", r.Accounts},
		{"run", "out", r.Out},
		{"run", "connections", r.Connections},
		{"run", "speed", s.Speed},
		{"run", "thin", s.Thin},
		{"run", "amplify", s.Amplify},
	}
	for _, command := range []string{"run", "compare"} {
		checks = append(checks,
			check{command, "attempts", p.Attempts}, check{command, "tries", p.Tries}, check{command, "come-back", p.ComeBack},
			check{command, "impatient", p.Impatient}, check{command, "resend", p.Resend}, check{command, "resend-at", p.ResendAt},
			check{command, "read", p.Read}, check{command, "type", p.Type}, check{command, "return", p.Return},
			check{command, "backoff", p.Backoff}, check{command, "deadline", p.Deadline}, check{command, "wait", p.Wait},
			check{command, "sign-out", p.SignOut}, check{command, "bot-flagged", p.BotFlagged})
	}
	for _, c := range checks {
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

func victimOf(t *testing.T, args ...string) (victimFlags, error) {
	t.Helper()
	var o victimFlags
	flags := pflag.NewFlagSet("victim", pflag.ContinueOnError)
	o.register(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	err := o.complete()
	return o, err
}

func TestFlagsOverrideAModel(t *testing.T) {
	t.Parallel()
	for _, p := range victim.Presets() {
		o, err := victimOf(t, "--model", p.Name, "--noise", "0.5", "--listen", "127.0.0.1:1", "--accounts", "7", "--latency", "0")
		if err != nil {
			t.Fatal(err)
		}
		want := p.Store
		want.Address, want.Ledger, want.Accounts, want.Noise, want.Latency = "127.0.0.1:1", o.cfg.Ledger, 7, .5, 0
		if o.cfg != want || o.cfg.Ledger == "" {
			t.Errorf("%s: %+v, want %+v", p.Name, o.cfg, want)
		}
	}
	if o, err := victimOf(t, "--workers", "9"); err != nil || o.cfg.Workers != 9 || o.cfg.Knee != 0 {
		t.Errorf("without a model: %+v, %v", o.cfg, err)
	}
}

func TestVictimFlagsThatWouldDoNothingAreRefused(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"--model x":                         "fragile-2x",
		"--init":                            "--init needs --postgres",
		"--postgres= --insecure":            "--insecure needs --postgres",
		"--postgres postgres:///x --knee 4": "--knee is of the simulated store",
		"--postgres postgres:///x --model workers": "--model is of the simulated store",
		"--cold 0":    "--cold is 0; it must be above that (default 10s)",
		"--workers 0": "--workers is 0",
	} {
		if _, err := victimOf(t, strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", args, err, want)
		}
	}
	if _, err := victimOf(t, "--postgres", "postgres:///x", "--init", "--accounts", "5", "--batch", "8", "--listen", "127.0.0.1:0"); err != nil {
		t.Error(err)
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

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/surgegate/surgegate/loadtest/victim"
)

// victimFlags are those of storm victim.
type victimFlags struct {
	cfg     victim.Config
	restart time.Duration
	model   string
	child   string
	pg      victim.PostgresConfig
	flags   *pflag.FlagSet
}

func victimCommand() *cobra.Command {
	var o victimFlags
	cmd := &cobra.Command{
		Use: "victim", Args: cobra.NoArgs,
		Short: "Serve a CredentialStore that really falls over, and start it again, cold",
		Long: `Serve a CredentialStore that really falls over, and start it again, cold.

It has --workers, each held for --hash by a password, and a line before them; or with --knee no line but contention, so that
more calls inside get less done. Past --memory or --max-calls its process dies with all that is inside, and comes back after
--restart at half speed. While it runs, --control lets a storm's faults stall, slow, halve or crash it.

Stores of 40 to 60 passwords a second with a name, for --model:

` + models() + `
With --postgres it is no model: it serves a real PostgreSQL, as surgegate itself would use it. The URL holds no password:
--password-file or PGPASSWORD does.`,
		Example: `  storm victim --accounts 1000000
  storm victim --model fragile --control 127.0.0.1:7701
  storm victim --model contention --knee 48 --noise 0.01
  storm victim --postgres 'postgres://storm@127.0.0.1/storm' --init --accounts 1000000`,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	o.register(cmd.Flags())
	return cmd
}

func models() string {
	var b strings.Builder
	for _, p := range victim.Presets() {
		fmt.Fprintf(&b, "  %-11s %s\n", p.Name, p.About)
	}
	return b.String()
}

// ofEveryStore are the flags that a store has whatever it is.
func ofEveryStore() []string { return []string{"listen", "accounts", "batch"} }

// ofPostgres are those of the real one alone.
func ofPostgres() []string { return []string{"postgres", "password-file", "insecure", "init"} }

func (o *victimFlags) register(f *pflag.FlagSet) {
	o.flags = f
	d := victim.Config{}.WithDefaults()
	cfg := &o.cfg
	f.StringVar(&cfg.Address, "listen", "127.0.0.1:7700", "host:port of the CredentialStore")
	f.IntVar(&cfg.Accounts, "accounts", d.Accounts, "accounts person-0@people.example and on")
	f.IntVar(&cfg.MaxSetBatch, "batch", d.MaxSetBatch, "most changes in one SetPasswords")

	f.StringVar(&o.model, "model", "", "name of a store model (see above); other flags override it")
	f.StringVar(&cfg.Ledger, "ledger", filepath.Join("build", "victim.jsonl"), "file in which every applied change is kept")
	f.IntVar(&cfg.Workers, "workers", d.Workers, "workers, each held for --hash by a password")
	f.DurationVar(&cfg.HashTime, "hash", d.HashTime, "a worker's time for one password")
	f.DurationVar(&cfg.LookupTime, "lookup", d.LookupTime, "a worker's time for one identifier")
	f.DurationVar(&cfg.RevokeTime, "revoke", d.RevokeTime, "a worker's time for one account's sessions")
	f.IntVar(&cfg.MaxLookup, "lookup-batch", d.MaxLookup, "most identifiers in one Lookup")
	f.IntVar(&cfg.Knee, "knee", d.Knee, "calls at which a store with contention (USL) is at its best; 0: a line before --workers")
	f.Float64Var(&cfg.Sigma, "sigma", d.Sigma, "share of work that such a store does one at a time, 0 to below 1")
	f.BoolVar(&cfg.Batched, "batched", d.Batched, "a batch is one piece of work, taken by one worker")
	f.DurationVar(&cfg.BatchTime, "batch-time", d.BatchTime, "of each such batch, beside the --hash of each password")
	f.DurationVar(&cfg.Latency, "latency", d.Latency, "added to each call, while nothing of the store is in use")
	f.Float64Var(&cfg.Spread, "spread", d.Spread, "coefficient of variation of work, log-normal; 2 is a heavy tail")
	f.Float64Var(&cfg.Noise, "noise", d.Noise, "share of calls that fail, whatever the load")
	f.IntVar(&cfg.MemoryBound, "memory", d.MemoryBound, "bytes of requests inside past which the process dies")
	f.IntVar(&cfg.RequestMemory, "request-memory", d.RequestMemory, "bytes that each item inside holds")
	f.IntVar(&cfg.MaxCalls, "max-calls", d.MaxCalls, "calls inside past which the process dies; 0: only --memory bounds it")
	f.DurationVar(&o.restart, "restart", victim.DefaultRestartDelay, "time from a crash to the restart")
	f.DurationVar(&cfg.ColdFor, "cold", d.ColdFor, "half speed for so long after a restart")
	f.BoolVar(&cfg.Mute, "mute", d.Mute, "look-ups find nobody, at the same cost")
	f.Uint64Var(&cfg.Seed, "seed", d.Seed, "of --spread and --noise")
	f.StringVar(&cfg.Control, "control", d.Control, "loopback host:port of GET /status, POST /step and POST /crash; empty: none")

	f.StringVar(&o.pg.URL, "postgres", "", "serve this database instead, such as postgres://role@host:port/database")
	f.StringVar(&o.pg.PasswordFile, "password-file", "", "file with its role's password")
	f.BoolVar(&o.pg.Insecure, "insecure", false, "call a database off this machine without verifying it")
	f.BoolVar(&o.pg.Init, "init", false, "make the tables and accounts that it lacks first")
	f.StringVar(&o.child, "child", "", "")
	_ = f.MarkHidden("child") // the flag exists
}

func (o *victimFlags) run(cmd *cobra.Command) error {
	ctx := cmd.Context()
	if o.child != "" {
		if err := json.Unmarshal([]byte(o.child), &o.cfg); err != nil {
			return fmt.Errorf("storm: --child: %w", err)
		}
		return victim.RunChild(ctx, o.cfg, os.Stdin, os.Stdout, func() { os.Exit(victim.ExitOutOfMemory) })
	}
	if err := o.complete(); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
	if o.pg.URL != "" {
		return o.postgres(ctx, log)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("storm: %w", err)
	}
	s, err := victim.NewSupervisor(
		victim.SupervisorConfig{Command: []string{self, "victim", "--child"}, Victim: o.cfg, RestartDelay: o.restart},
		victim.SupervisorDeps{Logger: log, Stderr: cmd.ErrOrStderr()})
	if err != nil {
		return err
	}
	log.Info("victim starts", "address", o.cfg.Address, "ledger", o.cfg.Ledger, "passwords_per_second", int(o.cfg.Capacity()))
	return s.Run(ctx)
}

// complete lays the flags that were given over the model's, and refuses those that would do nothing.
func (o *victimFlags) complete() error {
	given := map[string]string{}
	var wrong error
	o.flags.Visit(func(f *pflag.Flag) {
		given[f.Name] = f.Value.String()
		wrong = errors.Join(wrong, o.check(f))
	})
	if wrong != nil {
		return wrong
	}
	if o.model == "" {
		return nil
	}
	p, err := victim.PresetByName(o.model)
	if err != nil {
		return fmt.Errorf("storm: --model: %w", err)
	}
	own := o.cfg
	o.cfg = p.Store
	o.cfg.Address, o.cfg.Ledger, o.cfg.Accounts, o.cfg.Control = own.Address, own.Ledger, own.Accounts, own.Control
	for name, value := range given {
		if err := o.flags.Set(name, value); err != nil {
			return fmt.Errorf("storm: --%s: %w", name, err)
		}
	}
	return nil
}

// check finds a flag that would do nothing.
func (o *victimFlags) check(f *pflag.Flag) error {
	database, ofIt := o.pg.URL != "", slices.Contains(ofPostgres(), f.Name)
	zero := func(s string) bool { return s == "0" || s == "0s" }
	switch {
	case database && !ofIt && !slices.Contains(ofEveryStore(), f.Name):
		return fmt.Errorf("storm: --%s is of the simulated store; a database has no such setting", f.Name)
	case !database && ofIt:
		return fmt.Errorf("storm: --%s needs --postgres URL", f.Name)
	case zero(f.Value.String()) && !zero(f.DefValue):
		return fmt.Errorf("storm: --%s is 0; it must be above that (default %s)", f.Name, f.DefValue)
	}
	return nil
}

func (o *victimFlags) postgres(ctx context.Context, log *slog.Logger) error {
	cfg := o.pg
	cfg.Address, cfg.Accounts = o.cfg.Address, o.cfg.Accounts
	if o.flags.Changed("batch") {
		cfg.MaxSetBatch = o.cfg.MaxSetBatch
	}
	s, err := victim.NewPostgres(ctx, cfg, victim.PostgresDeps{Logger: log})
	if err != nil {
		return err
	}
	log.Info("victim serves a database", "address", s.Addr())
	return s.Run(ctx)
}

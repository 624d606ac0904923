package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/surgegate/surgegate/loadtest/direct"
	"github.com/surgegate/surgegate/loadtest/victim"
	"github.com/surgegate/surgegate/loadtest/victim/pgstore"
)

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use: "storm", Short: "Reset storms: a store that falls over, and what happens to people",
		SilenceUsage: true, SilenceErrors: true,
	}
	cmd.AddCommand(demoCommand(), runCommand(), compareCommand(), synthCommand(), simulateCommand(), reportCommand(),
		benchCommand(), benchServeCommand(), victimCommand(), directCommand())
	return cmd
}

// terminal tells how wide the terminal is, asked for each frame, so that resizing works.
func terminal(out io.Writer) func() (int, bool) {
	return func() (int, bool) {
		file, ok := out.(*os.File)
		if !ok || !term.IsTerminal(int(file.Fd())) {
			return 0, false
		}
		width, _, err := term.GetSize(int(file.Fd()))
		return width, err == nil
	}
}

func victimCommand() *cobra.Command {
	var (
		cfg     victim.Config
		child   string
		restart time.Duration
		model   string
		pg      pgstore.Config
	)
	cmd := &cobra.Command{
		Use: "victim", Args: cobra.NoArgs,
		Short: "Serve a CredentialStore that really falls over, and start it again, cold",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if child != "" {
				if err := json.Unmarshal([]byte(child), &cfg); err != nil {
					return fmt.Errorf("storm: --child: %w", err)
				}
				return victim.RunChild(ctx, cfg, os.Stdin, os.Stdout, func() { os.Exit(victim.ExitOutOfMemory) })
			}
			if pg.URL != "" {
				pg.Address, pg.Accounts = cfg.Address, cfg.Accounts
				store, err := pgstore.New(ctx, pg)
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "storm: a CredentialStore with PostgreSQL behind it at %s\n", store.Address())
				return store.Run(ctx)
			}
			if err := preset(model, cmd.Flags()); err != nil {
				return err
			}
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("storm: %w", err)
			}
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			s, err := victim.NewSupervisor(
				victim.SupervisorConfig{Command: []string{self, "victim", "--child"}, Victim: cfg, RestartDelay: restart},
				victim.SupervisorDeps{Logger: log, Stderr: cmd.ErrOrStderr()})
			if err != nil {
				return err
			}
			log.Info("victim starts", "address", cfg.Address, "ledger", cfg.Ledger, "passwords_per_second", int(cfg.Capacity()))
			return s.Run(ctx)
		},
	}
	defaults := victim.Config{}.WithDefaults()
	f := cmd.Flags()
	f.StringVar(&cfg.Address, "listen", "127.0.0.1:7700", "host:port of the CredentialStore")
	f.StringVar(&cfg.Ledger, "ledger", filepath.Join("build", "victim.jsonl"), "file in which every applied change is kept")
	f.IntVar(&cfg.Accounts, "accounts", defaults.Accounts, "accounts person-0@people.example and on")
	f.IntVar(&cfg.Workers, "workers", defaults.Workers, "workers, each held for --hash by a password")
	f.DurationVar(&cfg.HashTime, "hash", defaults.HashTime, "a worker's time for one password")
	f.IntVar(&cfg.MemoryBound, "memory", defaults.MemoryBound, "bytes of requests inside past which the process dies")
	f.IntVar(&cfg.MaxSetBatch, "batch", defaults.MaxSetBatch, "most changes in one SetPasswords")
	f.DurationVar(&cfg.ColdFor, "cold", defaults.ColdFor, "half speed for so long after a restart")
	f.IntVar(&cfg.Knee, "knee", defaults.Knee, "calls at which a store with contention is at its best; 0: a line before the workers")
	f.Float64Var(&cfg.Sigma, "sigma", defaults.Sigma, "contention of such a store, 0 to below 1")
	f.BoolVar(&cfg.Batched, "batched", defaults.Batched, "a batch is one piece of work, taken by one worker")
	f.DurationVar(&cfg.BatchTime, "batch-time", defaults.BatchTime, "of each such batch, beside the --hash of each password")
	f.DurationVar(&cfg.Latency, "latency", defaults.Latency, "added to each call, while nothing of the store is in use")
	f.Float64Var(&cfg.Spread, "spread", defaults.Spread, "coefficient of variation of work")
	f.Float64Var(&cfg.Noise, "noise", defaults.Noise, "share of calls that fail, whatever the load")
	f.IntVar(&cfg.MaxCalls, "max-calls", defaults.MaxCalls, "calls inside past which the process dies; 0: only --memory bounds it")
	f.StringVar(&cfg.Control, "control", defaults.Control, "loopback host:port of GET /status, POST /step and POST /crash; empty: none")
	f.DurationVar(&restart, "restart", victim.DefaultRestartDelay, "time from a crash to the restart")
	f.StringVar(&model, "model", "", "a kind of store: "+strings.Join(presetNames(), ", ")+"; other flags change it")
	f.StringVar(&pg.URL, "postgres", "", "URL of a database: a real PostgreSQL instead of a model")
	f.BoolVar(&pg.Init, "init", false, "with --postgres: make the tables storm_accounts and storm_changes, and --accounts, where they are missing")
	f.IntVar(&pg.Connections, "connections", 0, "with --postgres: to the database; 0: the adapter's default")
	f.StringVar(&child, "child", "", "")
	_ = f.MarkHidden("child") // the flag exists
	return cmd
}

func directCommand() *cobra.Command {
	var (
		cfg    direct.Config
		asJSON string
	)
	cmd := &cobra.Command{
		Use: "direct", Args: cobra.NoArgs,
		Short: "Serve PasswordReset naively: call the store inside the handler",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON != "" {
				if err := json.Unmarshal([]byte(asJSON), &cfg); err != nil {
					return fmt.Errorf("storm: --json: %w", err)
				}
			}
			front, err := direct.New(cfg, direct.Deps{})
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "direct front serves at", front.Addr())
			return front.Run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Address, "listen", "127.0.0.1:7600", "host:port of PasswordReset")
	f.StringVar(&cfg.Store, "store", "127.0.0.1:7700", "host:port of the CredentialStore")
	f.StringVar(&cfg.Maildir, "maildir", filepath.Join("build", "direct-mail"), "where mails go")
	f.DurationVar(&cfg.StoreTimeout, "timeout", direct.DefaultStoreTimeout, "of each store call")
	f.StringVar(&asJSON, "json", "", "")
	_ = f.MarkHidden("json") // the flag exists
	return cmd
}

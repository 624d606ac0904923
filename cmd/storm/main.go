// Command storm is the load tester's tool: it makes storms, replays them at systems that are up, compares gateways over one
// storm, simulates two days in a minute, and has the store that falls over.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/surgegate/surgegate/cmd/internal/manual"
	"github.com/surgegate/surgegate/loadtest/compare"
	"github.com/surgegate/surgegate/loadtest/rehearse"
	"github.com/surgegate/surgegate/loadtest/victim"
	"github.com/surgegate/surgegate/pkg/version"
)

// Exit codes beside 0 and 1.
const (
	exitInvalid = 3  // the load generator was late: the run says nothing
	exitBroken  = 99 // a threshold was broken: surgegate did not keep a promise
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := root().ExecuteContext(ctx)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "storm:", err)
	stop()
	os.Exit(exitCode(err)) // stop has been called
}

func exitCode(err error) int {
	switch {
	case errors.Is(err, compare.ErrBroken), errors.Is(err, compare.ErrThreshold), errors.Is(err, rehearse.ErrThreshold):
		return exitBroken
	case errors.Is(err, compare.ErrInvalid), errors.Is(err, rehearse.ErrInvalid):
		return exitInvalid
	default:
		return 1
	}
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use: "storm", Short: "Reset storms: a store that falls over, and what happens to people",
		SilenceUsage: true, SilenceErrors: true, Version: version.Current().Full(),
	}
	cmd.AddCommand(demoCommand(), runCommand(), compareCommand(), synthCommand(), simulateCommand(), reportCommand(),
		benchCommand(), benchServeCommand(), victimCommand(), directCommand(), manual.Command(cmd))
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

func directCommand() *cobra.Command {
	var (
		cfg    victim.DirectConfig
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
			front, err := victim.NewDirect(cfg, victim.DirectDeps{})
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
	f.DurationVar(&cfg.StoreTimeout, "timeout", victim.DefaultStoreTimeout, "of each store call")
	f.StringVar(&asJSON, "json", "", "")
	_ = f.MarkHidden("json") // the flag exists
	return cmd
}

// Command surgegate is the password-reset gateway: serve runs it, check validates a configuration, and keygen makes the keys before
// the first start.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/surgegate/surgegate/cmd/internal/manual"
	"github.com/surgegate/surgegate/pkg/app"
	"github.com/surgegate/surgegate/pkg/config"
	"github.com/surgegate/surgegate/pkg/version"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := untilSignal()
	defer stop()
	root := &cobra.Command{
		Use: "surgegate",
		Example: `  surgegate serve                         # try it: on loopback, with sample accounts
  surgegate check --explain               # list all configuration keys
  surgegate check --config surgegate.yaml
  surgegate serve --config surgegate.yaml`,
		Short:         "A password-reset gateway that stays up when everybody resets at once",
		Version:       version.Current().Full(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(serve(), check(), keygen(), manual.Command(root))
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "surgegate:", err)
		return 1
	}
	return 0
}

// untilSignal returns a context that ends with the first SIGINT or SIGTERM. The second one ends the process at once.
func untilSignal() (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

func serve() *cobra.Command {
	var path, record string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the gateway; without --config it listens on loopback and has sample accounts",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(path, os.Environ())
			if err != nil {
				return err
			}
			o := app.Options{Config: c, Output: cmd.ErrOrStderr(), Record: record}
			if path != "" {
				o.Reload = func() (config.Config, error) { return config.Load(path, os.Environ()) }
			}
			// SIGHUP must not end the gateway, even without a file to read again. One signal may wait while a reload is under way.
			hangup := make(chan os.Signal, 1)
			signal.Notify(hangup, syscall.SIGHUP)
			defer signal.Stop(hangup)
			o.Hangup = hangup
			return app.Run(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&path, "config", "", "YAML `file`; surgegate check --explain lists its keys")
	cmd.Flags().StringVar(&record, "record", "", "write the public calls to `file` as a storm log, without identifiers; {time} in its name becomes the time of the start")
	return cmd
}

func check() *cobra.Command {
	var path string
	var explain bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Read a configuration and say what is wrong, with file and line",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if explain {
				return config.Explain(cmd.OutOrStdout())
			}
			if _, err := config.Load(path, os.Environ()); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "the configuration is good")
			return err
		},
	}
	cmd.Flags().StringVar(&path, "config", "", "YAML `file`")
	cmd.Flags().BoolVar(&explain, "explain", false, "list every key with its default, environment variable and meaning")
	return cmd
}

func keygen() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "keygen",
		Short: "Make the keys that serve would make on its first start",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := app.MakeKeys(dir); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "keys are in %s: keep them out of the backup that holds the data directory\n", dir)
			return err
		},
	}
	cmd.Flags().StringVar(&dir, "keys-dir", config.Default().KeysDir, "folder for the keys; it is made if it does not exist, and keys in it are kept")
	return cmd
}

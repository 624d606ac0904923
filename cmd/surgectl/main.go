// Command surgectl shows operators the status of a surgegate and sets overrides, which end by themselves. A command that takes
// something from people asks first. internal/connect has the connection and the exit codes. The server makes the diagnosis that
// status prints (pkg/diagnosis).
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/surgegate/surgegate/cmd/internal/manual"
	"github.com/surgegate/surgegate/cmd/surgectl/internal/connect"
	"github.com/surgegate/surgegate/cmd/surgectl/internal/page"
	"github.com/surgegate/surgegate/pkg/version"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o := &options{}
	root := newRoot(o, os.Getenv)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	if asksJSON(os.Args[1:]) {
		o.output = "json" // cobra stops at the first flag that it does not know, perhaps before this one
	}
	return o.fail(cmd, os.Stderr, err)
}

// asksJSON tells whether the command line asks for JSON, even if something else is wrong with it.
func asksJSON(args []string) bool {
	for i, arg := range args {
		switch arg {
		case "-ojson", "-o=json", "--output=json":
			return true
		case "-o", "--output":
			if i+1 < len(args) && args[i+1] == "json" {
				return true
			}
		}
	}
	return false
}

// isText returns an error if an argument or a flag is not UTF-8. gRPC would refuse it without saying which.
func isText(cmd *cobra.Command, args []string) (err error) {
	for _, arg := range args {
		if !utf8.ValidString(arg) {
			return fmt.Errorf("%q is no UTF-8: type it by hand", arg)
		}
	}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if !utf8.ValidString(f.Value.String()) {
			err = fmt.Errorf("%s: %q is no UTF-8: type it by hand", f.Name, f.Value.String())
		}
	})
	return err
}

// options are the flags of every command.
type options struct {
	connect.Config
	output string
}

const long = `See what a surgegate does, and change it for a while.

Read "surgectl status" first: it says what is wrong, for how long, and what you can do. "surgectl top" shows the same live.

What you set is an override. It ends by itself after --duration (1 h by default), and what is configured applies again.
A command that makes people wait or refuses them asks first; without a terminal it needs --yes. --dry-run changes nothing.

Example: the store is slow, and its owners ask for at most 8 calls at once for half an hour.

  $ surgectl status
  $ surgectl pace list
  $ surgectl pace bound store --max 8 --duration 30m --reason "store team asked" --dry-run
  $ surgectl pace bound store --max 8 --duration 30m --reason "store team asked"
  $ surgectl overrides list
  $ surgectl pace auto store       # end it before its time

Environment: SURGECTL_ADDRESS, SURGECTL_CA, SURGECTL_CERT, SURGECTL_KEY, SURGECTL_TOKEN_FILE; NO_COLOR.
Exit codes: 0 done; 1 it could not be done; 2 wrong command line; 3 not found, or nothing done; 4 unreachable, or login refused.`

func newRoot(o *options, getenv func(string) string) *cobra.Command {
	defaults := connect.Config{}.WithDefaults()
	root := &cobra.Command{
		Use: "surgectl", Short: "See a surgegate and steer it through a storm", Long: long,
		SilenceUsage: true, SilenceErrors: true, Version: version.Current().Full(),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("there is no command %q", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, args []string) error {
			if o.output != "text" && o.output != "json" {
				return fmt.Errorf("output %q: use text or json", o.output)
			}
			return isText(cmd, args)
		},
	}
	f := root.PersistentFlags()
	fromEnv := func(name, otherwise string) string {
		if v := getenv(name); v != "" {
			return v
		}
		return otherwise
	}
	f.StringVar(&o.Address, "address", fromEnv("SURGECTL_ADDRESS", defaults.Address), "address of the operator listener")
	f.StringVar(&o.CA, "ca", fromEnv("SURGECTL_CA", ""), "PEM file of the authorities that sign its certificate; turns TLS on")
	f.StringVar(&o.Cert, "cert", fromEnv("SURGECTL_CERT", ""), "PEM file of your client certificate")
	f.StringVar(&o.Key, "key", fromEnv("SURGECTL_KEY", ""), "PEM file of its private key")
	f.StringVar(&o.TokenFile, "token-file", fromEnv("SURGECTL_TOKEN_FILE", ""), "file with your bearer token")
	f.DurationVar(&o.Timeout, "timeout", defaults.Timeout, "how long to wait for an answer")
	f.StringVarP(&o.output, "output", "o", "text", "text or json")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	root.AddGroup(&cobra.Group{ID: "see", Title: "See:"}, &cobra.Group{ID: "steer", Title: "Steer:"},
		&cobra.Group{ID: "people", Title: "Jobs and people:"})
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	root.AddCommand(manual.Command(root))
	add("see", o.status(), o.top(), o.audit())
	add("steer", o.lanes(), o.pace(), o.breaker(), o.brownout(), o.limits(), o.overrides(), o.reload())
	add("people", o.parked(), o.ticket())
	return root
}

// group returns a command that only has subcommands.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short,
		Args: func(cmd *cobra.Command, args []string) error {
			var names []string
			for _, sub := range cmd.Commands() {
				names = append(names, sub.Name())
			}
			if len(args) > 0 {
				return fmt.Errorf("there is no %q: use %s", args[0], strings.Join(names, ", "))
			}
			return fmt.Errorf("say which: %s", strings.Join(names, ", "))
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(commands...)
	return c
}

// exactly accepts n arguments, and otherwise shows how to write the command.
func exactly(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return fmt.Errorf("write: %s", strings.TrimSuffix(cmd.UseLine(), " [flags]"))
		}
		return nil
	}
}

// fail prints the error as text or JSON and returns the exit code.
func (o *options) fail(cmd *cobra.Command, w io.Writer, err error) int {
	var e *connect.Error
	if !errors.As(err, &e) {
		// Everything that a command itself returns is one; the rest is what cobra found wrong with the command line.
		e = connect.Usage(err)
		e.Message += fmt.Sprintf(" (see %s --help)", cmd.CommandPath())
	}
	if o.output == "json" {
		_ = writeJSON(w, map[string]any{"error": e})
	} else {
		fmt.Fprintln(w, "surgectl:", e.Message)
	}
	return e.ExitCode
}

// call connects, runs f and closes.
func (o *options) call(cmd *cobra.Command, f func(ctx context.Context, c *connect.Client) error) error {
	c, err := connect.New(o.Config)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if err := f(cmd.Context(), c); err != nil {
		return connect.As(err)
	}
	return nil
}

// show prints m as JSON or, for people, the lines of text.
func (o *options) show(cmd *cobra.Command, m any, text func(page.Style) []string) error {
	w := cmd.OutOrStdout()
	if o.output == "json" {
		if message, ok := m.(proto.Message); ok {
			raw, err := rawJSON(message)
			if err != nil {
				return err
			}
			m = raw
		}
		return writeJSON(w, m)
	}
	for _, line := range text(style(w)) {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// plainWidth is the width of the output to a pipe or a file, in columns.
const plainWidth = 120

// style returns the width of the output and whether it shows colours.
func style(w io.Writer) page.Style {
	s := page.Style{Width: plainWidth}
	file, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return s
	}
	s.Colour = os.Getenv("NO_COLOR") == ""
	if width, _, err := term.GetSize(int(file.Fd())); err == nil && width > 0 {
		s.Width = width
	}
	return s
}

// rawJSON returns a message as JSON with the field names of the proto, including fields with default values.
func rawJSON(m proto.Message) (json.RawMessage, error) {
	return protojson.MarshalOptions{EmitUnpopulated: true, UseProtoNames: true}.Marshal(m)
}

// rawList returns several messages as JSON.
func rawList[M proto.Message](messages []M) ([]json.RawMessage, error) {
	list := make([]json.RawMessage, len(messages))
	for i, m := range messages {
		raw, err := rawJSON(m)
		if err != nil {
			return nil, err
		}
		list[i] = raw
	}
	return list, nil
}

// writeJSON writes indented JSON. protojson varies its white space on purpose, so it is indented again.
func writeJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

// clockTime returns a time for people, with its day, because a storm may go past midnight.
func clockTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

// Command surgectl is how an operator sees a surgegate and steers it through a storm. Its status answers in words; what it sets
// are overrides that end by themselves; what takes something from people asks first. How it gets to a surgegate, and its exit
// codes: internal/connect. What a status means is the server's to say: pkg/diagnosis.
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

// asksJSON tells whether errors are wanted as JSON, whatever else is wrong with the command line.
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

// isText is an error where an argument or a flag is no UTF-8: gRPC would refuse it without saying which.
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

// options are what every command has.
type options struct {
	connect.Config
	output string
}

const long = `See a surgegate and steer it through a storm.

  surgectl status     what is wrong, until when, and what you can do: read this first
  surgectl top        the same, live

What you set is an override: it ends by itself (--duration, 1 h unless you say otherwise) and what was in force before comes
back. What takes something from people asks first; without a terminal it needs --yes. --dry-run tells what would happen.

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
	f.StringVar(&o.Address, "address", fromEnv("SURGECTL_ADDRESS", defaults.Address), "the operator listener of the surgegate")
	f.StringVar(&o.CA, "ca", fromEnv("SURGECTL_CA", ""), "PEM file of its authorities; turns TLS on")
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

// group is a command that only has others.
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

// exactly takes so many arguments as the command's use line names.
func exactly(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return fmt.Errorf("write: %s", strings.TrimSuffix(cmd.UseLine(), " [flags]"))
		}
		return nil
	}
}

// fail tells the error as the output asks for it, and returns the exit code.
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

// show writes what is returned as JSON, or the lines of text.
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

// plainWidth is for pipes and files: wide enough that nothing is cut which somebody might look for.
const plainWidth = 120

// style is what the output can show.
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

// rawJSON is a message with the proto's own field names, defaults included.
func rawJSON(m proto.Message) (json.RawMessage, error) {
	return protojson.MarshalOptions{EmitUnpopulated: true, UseProtoNames: true}.Marshal(m)
}

// rawList is several, for a list of a part of a message.
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

// writeJSON indents: protojson's own spaces differ from build to build, so that nobody relies on them.
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

// clockTime is a moment for people: with its day, because a storm may go past midnight.
func clockTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

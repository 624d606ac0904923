package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/surgegate/surgegate/loadtest/crowd"
	"github.com/surgegate/surgegate/loadtest/measure"
	"github.com/surgegate/surgegate/loadtest/model"
	"github.com/surgegate/surgegate/loadtest/rehearse"
)

// runFlags are those of storm run that are not Config's own.
type runFlags struct {
	cfg                       rehearse.Config
	shape                     rehearse.Shape
	storm                     scenarioFlags
	window                    windowFlags
	trace                     string
	verbatim                  bool
	thresholds                string
	useTLS                    bool
	ca, cert, key, serverName string
	yes                       bool
	faults                    []string
}

func runCommand() *cobra.Command {
	var o runFlags
	d := rehearse.Config{Storm: rehearse.Storm{}}.WithDefaults()
	cmd := &cobra.Command{
		Use: "run HOST:PORT [HOST:PORT ...]", Args: cobra.MinimumNArgs(1),
		Short: "Replay a storm, open loop, at a surgegate that is up, and report what became of the people",
		Long: `Replay a storm, open loop, at a surgegate that is up, and report what became of the people.

Nothing but the address is needed. So that people can follow their links, tell where the system's mails go: --maildir for
a folder that it delivers to, or --smtp to be the mail server that it is pointed at.

Exit codes: 0, all is well; 3, INVALID: this machine was too busy to generate the load on time; 99, a threshold is broken.`,
		Example: `  storm run 127.0.0.1:7600 --scenario plex-2022 --thin 100 --maildir ./data/mail
  storm run staging.internal:443 --tls --trace monday.trace.zst --identifier 'user-%d@example.com' --accounts 50000
  storm run 127.0.0.1:7600 --length 1m --thresholds thresholds.yaml`,
		RunE: func(cmd *cobra.Command, targets []string) error { return o.run(cmd, targets) },
	}
	f := cmd.Flags()
	o.storm.register(f)
	o.window.register(f, 30*time.Second, "default 2 s before the peak")
	f.StringVar(&o.trace, "trace", "", "file of a trace to replay instead of a scenario; - is the standard input")
	f.BoolVar(&o.verbatim, "verbatim", false, "replay each event of the trace as one call, instead of letting people act")
	f.Float64Var(&o.shape.Speed, "speed", 1, "compress the arrivals' times; buckets, TTLs and backoffs do not scale")
	f.Float64Var(&o.shape.Thin, "thin", 1, "sample one person in so many")
	f.IntVar(&o.shape.Amplify, "amplify", 1, "clone each person so many times")
	f.DurationVar(&o.cfg.Limit, "limit", 0, "end the run after so long; 0: when everybody has ended")
	f.DurationVar(&o.cfg.MaxLag, "max-lag", d.MaxLag, "how late arrivals may be at p99 before the run is INVALID")
	f.StringVar(&o.cfg.Identifier, "identifier", d.Identifier, "what people type, with %d for their number")
	f.Uint64Var(&o.cfg.Accounts, "accounts", d.Accounts, "numbers go up to here; people share accounts when there are fewer")
	f.StringVar(&o.cfg.Maildir, "maildir", "", "folder that the system delivers its mails to")
	f.StringVar(&o.cfg.SMTP, "smtp", "", "host:port to be the system's mail server at")
	f.StringVar(&o.cfg.Control, "control", "", "host:port of a storm victim's --control: shows the store, and lets faults be done to it")
	f.StringArrayVar(&o.faults, "fault", nil, `something that goes wrong, such as "store-slow 0.5 at 10s for 20s" (with --control) or "mail-refuse at 5s for 5s" (with --smtp); may be repeated`)
	f.StringVar(&o.thresholds, "thresholds", "", "file of bounds, such as completed_share: \">= 99 %\"")
	f.StringVar(&o.cfg.Out, "out", d.Out, "folder for report.html, result.json and the histograms")
	f.IntVar(&o.cfg.Connections, "connections", d.Connections, "to each target, shared by all people")
	f.BoolVar(&o.useTLS, "tls", false, "call over TLS")
	f.StringVar(&o.ca, "ca", "", "file of the authorities to trust instead of the system's; means --tls")
	f.StringVar(&o.cert, "cert", "", "file of a client certificate; means --tls")
	f.StringVar(&o.key, "key", "", "file of its key")
	f.StringVar(&o.serverName, "server-name", "", "that the certificate must be for; default the target's host; means --tls")
	f.BoolVar(&o.yes, "yes", false, "the targets are meant, also where they are neither loopback nor private")
	peopleFlags(f, &o.cfg.People)
	return cmd
}

func (o *runFlags) run(cmd *cobra.Command, targets []string) error {
	in, _ := cmd.InOrStdin().(*os.File)
	guard := Guard{
		In: cmd.InOrStdin(), Out: cmd.ErrOrStderr(), Yes: o.yes,
		Terminal: in != nil && term.IsTerminal(int(in.Fd())),
	}
	if err := guard.Check(cmd.Context(), targets); err != nil {
		return err
	}
	if err := errors.Join(o.shape.Validate(), o.useless(), refuseZeros(cmd.Flags(), peopleNames()...)); err != nil {
		return err
	}
	cfg := o.cfg
	cfg.Targets = targets
	var err error
	if cfg.Storm, err = o.open(&cfg); err != nil {
		return err
	}
	if o.thresholds != "" {
		if cfg.Thresholds, err = measure.LoadThresholds(o.thresholds); err != nil {
			return err
		}
	}
	if cfg.Faults, err = parseFaults(cfg.Faults, o.faults); err != nil {
		return err
	}
	if cfg.TLS, err = o.tls(); err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if o.shape.Speed != 1 {
		fmt.Fprintf(cmd.ErrOrStderr(), "storm: at %v times the speed buckets, TTLs, backoffs and people do not scale: this is another storm\n", o.shape.Speed)
	}
	_, err = rehearse.Run(cmd.Context(), cfg, rehearse.Deps{Out: out, Terminal: terminal(out)})
	return err
}

// open makes the storm: a trace, or a scenario's window.
func (o *runFlags) open(cfg *rehearse.Config) (rehearse.Storm, error) {
	shape := o.shape
	shape.Seed = o.storm.seed
	if o.trace != "" {
		t, err := rehearse.OpenTrace(o.trace, o.verbatim)
		if err != nil {
			return rehearse.Storm{}, err
		}
		return rehearse.Storm{
			Name: o.trace, Shape: shape, Seed: o.storm.seed, Notes: t.Notes,
			Open: func() (rehearse.Stream, error) { return rehearse.NewShaped(t, shape), nil },
		}, nil
	}
	s, err := o.storm.scenario()
	if err != nil {
		return rehearse.Storm{}, err
	}
	from := o.window.from
	if !o.window.flags.Changed("from") {
		from = s.Peak() - lead
	}
	cfg.Faults = faster(since(s.Faults, from), shape.WithDefaults().Speed)
	window := model.Window{From: from, Length: o.window.length, Thin: shape.Thin}
	told := shape
	shape.Thin = 1 // a scenario's people are fewer from the start
	return rehearse.Storm{Name: s.Name, Shape: told, Seed: o.storm.seed, Open: func() (rehearse.Stream, error) {
		arrivals, err := s.Arrivals(window, o.storm.seed)
		if err != nil {
			return nil, err
		}
		return rehearse.NewShaped(rehearse.NoClose(crowd.OfScenario(arrivals)), shape), nil
	}}, nil
}

// since are the faults of a window that begins at from; those that are over by then are left out.
func since(all []model.Fault, from time.Duration) (left []model.Fault) {
	for _, f := range all {
		f.At -= from
		if f.At < 0 {
			f.For = max(0, f.For+f.At)
			f.At = 0
			if f.For == 0 {
				continue
			}
		}
		left = append(left, f)
	}
	return left
}

// faster are the faults of a scenario whose time is compressed.
func faster(all []model.Fault, speed float64) []model.Fault {
	for i := range all {
		all[i].At = time.Duration(float64(all[i].At) / speed)
		all[i].For = time.Duration(float64(all[i].For) / speed)
	}
	return all
}

// useless is an error for flags that would do nothing beside others.
func (o *runFlags) useless() error {
	changed := func(names ...string) (list []string) {
		for _, name := range names {
			if o.window.flags.Changed(name) {
				list = append(list, "--"+name)
			}
		}
		return list
	}
	if o.trace == "" {
		if o.verbatim {
			return errors.New("storm: --verbatim is for a --trace; a scenario has nothing that was recorded")
		}
		return nil
	}
	if list := changed("scenario", "from", "length", "people", "mailing", "reset-share", "open-median", "open-sigma", "start-hour", "scan-share",
		"sign-out-all", "sign-out-back", "sign-out-tau", "attack-share", "usual", "office-share", "office-size"); len(list) > 0 {
		return fmt.Errorf("storm: %s change a scenario; a --trace is replayed as it is", strings.Join(list, ", "))
	}
	return nil
}

// tls is nil for plaintext.
func (o *runFlags) tls() (*tls.Config, error) {
	if (o.cert == "") != (o.key == "") {
		return nil, errors.New("storm: --cert and --key belong together")
	}
	if !o.useTLS && o.ca == "" && o.cert == "" && o.serverName == "" {
		return nil, nil // no TLS and no error
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: o.serverName}
	if o.ca != "" {
		data, err := os.ReadFile(o.ca)
		if err != nil {
			return nil, fmt.Errorf("storm: --ca: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("storm: --ca: %s holds no certificate", o.ca)
		}
	}
	if o.cert != "" {
		pair, err := tls.LoadX509KeyPair(o.cert, o.key)
		if err != nil {
			return nil, fmt.Errorf("storm: --cert: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/surgegate/surgegate/loadtest/model"
	"github.com/surgegate/surgegate/loadtest/people"
)

// scenarioFlags say which scenario, and change its numbers.
type scenarioFlags struct {
	name    string
	seed    uint64
	changes model.Scenario
	flags   *pflag.FlagSet
}

func (o *scenarioFlags) register(f *pflag.FlagSet) {
	d := model.Plex2022()
	o.flags = f
	f.StringVar(&o.name, "scenario", d.Name, "one of "+strings.Join(model.Names(), ", ")+", or a file of your own (.yaml)")
	f.Uint64Var(&o.seed, "seed", 2022, "of all random draws: same seed, same people")
	f.Float64Var(&o.changes.People, "people", 0, "N, people mailed; default the scenario's, as of all that follow")
	f.DurationVar(&o.changes.Mailing, "mailing", 0, "D, how long the mailing takes")
	f.Float64Var(&o.changes.ResetShare, "reset-share", 0, "p, of people, who open the mail and reset")
	f.DurationVar(&o.changes.OpenMedian, "open-median", 0, "of the time from a mail to its opening")
	f.Float64Var(&o.changes.OpenSigma, "open-sigma", 0, "σ of its logarithm")
	f.Float64Var(&o.changes.StartHour, "start-hour", 0, "local time of day of the first mail")
	f.Float64Var(&o.changes.ScanShare, "scan-share", 0, "s, of links, fetched by mail scanners")
	f.BoolVar(&o.changes.SignOut, "sign-out-all", false, "all devices are signed out with the first mail")
	f.Float64Var(&o.changes.SignOutBack, "sign-out-back", 0, "φ, of people, who come back at once then")
	f.DurationVar(&o.changes.SignOutTau, "sign-out-tau", 0, "τ, how fast they come")
	f.Float64Var(&o.changes.AttackShare, "attack-share", 0, "a, of requests, that are an attack")
	f.Float64Var(&o.changes.Usual, "usual", 0, "people a second who reset on any day")
	f.Float64Var(&o.changes.OfficeShare, "office-share", 0, "of people, who sit in an office behind one address")
	f.IntVar(&o.changes.OfficeSize, "office-size", 0, "people of one office who reset")
}

// scenario is the one meant, with what the flags change.
func (o *scenarioFlags) scenario() (model.Scenario, error) {
	s, err := load(o.name)
	if err != nil {
		return s, err
	}
	for flag, change := range map[string]func(){
		"people":        func() { s.People = o.changes.People },
		"mailing":       func() { s.Mailing = o.changes.Mailing },
		"reset-share":   func() { s.ResetShare = o.changes.ResetShare },
		"open-median":   func() { s.OpenMedian = o.changes.OpenMedian },
		"open-sigma":    func() { s.OpenSigma = o.changes.OpenSigma },
		"start-hour":    func() { s.StartHour = o.changes.StartHour },
		"scan-share":    func() { s.ScanShare = o.changes.ScanShare },
		"sign-out-all":  func() { s.SignOut = o.changes.SignOut },
		"sign-out-back": func() { s.SignOutBack = o.changes.SignOutBack },
		"sign-out-tau":  func() { s.SignOutTau = o.changes.SignOutTau },
		"attack-share":  func() { s.AttackShare = o.changes.AttackShare },
		"usual":         func() { s.Usual = o.changes.Usual },
		"office-share":  func() { s.OfficeShare = o.changes.OfficeShare },
		"office-size":   func() { s.OfficeSize = o.changes.OfficeSize },
	} {
		if o.flags.Changed(flag) {
			change()
		}
	}
	return s, s.Validate()
}

// load takes a scenario that ships before a file of the same name.
func load(name string) (model.Scenario, error) {
	if slices.Contains(model.Names(), name) {
		return model.ByName(name)
	}
	if _, err := os.Stat(name); err == nil {
		return model.Load(name)
	}
	return model.Scenario{}, fmt.Errorf("storm: %q is neither a scenario (%s) nor a file", name, strings.Join(model.Names(), ", "))
}

// windowFlags say which part of it.
type windowFlags struct {
	from, length time.Duration
	flags        *pflag.FlagSet
}

// lead is how much of a storm comes before its peak where nothing else was said: enough to see it begin.
const lead = 2 * time.Second

func (o *windowFlags) register(f *pflag.FlagSet, length time.Duration, what string) {
	o.flags = f
	f.DurationVar(&o.from, "from", 0, "where to begin, after the first mail; "+what)
	f.DurationVar(&o.length, "length", length, "of the part that is taken")
}

// peopleFlags makes each number of people's behaviour a flag.
func peopleFlags(f *pflag.FlagSet, cfg *people.Config) {
	d := people.Config{}.WithDefaults()
	f.IntVar(&cfg.Attempts, "attempts", d.Attempts, "of a client for one step")
	f.IntVar(&cfg.Tries, "tries", d.Tries, "of a person for one step")
	f.Float64Var(&cfg.ComeBack, "come-back", d.ComeBack, "probability of each further try")
	f.Float64Var(&cfg.Impatient, "impatient", d.Impatient, "share of clients that retry at once")
	f.Float64Var(&cfg.Resend, "resend", d.Resend, "share of people who ask for another mail while they wait")
	f.DurationVar(&cfg.ResendAt, "resend-at", d.ResendAt, "median of when they do")
	f.DurationVar(&cfg.Read, "read", d.Read, "median time from a mail's coming to the click")
	f.DurationVar(&cfg.Type, "type", d.Type, "median time to type a new password")
	f.DurationVar(&cfg.Return, "return", d.Return, "median time until a person tries again")
	f.DurationVar(&cfg.Backoff, "backoff", d.Backoff, "first backoff of a patient client, doubled each time")
	f.DurationVar(&cfg.Deadline, "deadline", d.Deadline, "of a call")
	f.DurationVar(&cfg.Wait, "wait", d.Wait, "that a completion asks to be held for")
	f.Float64Var(&cfg.SignOut, "sign-out", d.SignOut, "share of people who tick \"sign out connected devices\"")
	f.Float64Var(&cfg.BotFlagged, "bot-flagged", d.BotFlagged, "share of attackers whom the front end's bot detection flags")
}

// peopleNames are those of the flags.
func peopleNames() (names []string) {
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	peopleFlags(f, &people.Config{})
	f.VisitAll(func(flag *pflag.Flag) { names = append(names, flag.Name) })
	return names
}

// refuseZeros is an error for a 0 that would be taken for "not given", and so for the default.
func refuseZeros(f *pflag.FlagSet, names ...string) error {
	for _, name := range names {
		if flag := f.Lookup(name); flag != nil && flag.Changed && (flag.Value.String() == "0" || flag.Value.String() == "0s") {
			return fmt.Errorf("storm: --%s 0 would mean its default, %s; for next to nothing say 1e-9, or 1ns", name, flag.DefValue)
		}
	}
	return nil
}

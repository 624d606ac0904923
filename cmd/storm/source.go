package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/surgegate/surgegate/loadtest/model"
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

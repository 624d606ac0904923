package main

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/surgegate/surgegate/loadtest/people"
)

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

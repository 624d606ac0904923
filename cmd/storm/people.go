package main

import (
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

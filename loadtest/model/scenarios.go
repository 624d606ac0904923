package model

import (
	"fmt"
	"strings"
	"time"
)

// Names of the scenarios that ship, in the order in which they are told.
func Names() []string {
	var names []string
	for _, s := range scenarios() {
		names = append(names, s.Name)
	}
	return names
}

// ByName returns a scenario that ships.
func ByName(name string) (Scenario, error) {
	for _, s := range scenarios() {
		if s.Name == name {
			return s.WithDefaults(), nil
		}
	}
	return Scenario{}, fmt.Errorf("model: there is no scenario %q; there are %s", name, strings.Join(Names(), ", "))
}

// Plex2022 is 24 August 2022: 15 of 30 million people mailed overnight, with "sign out connected devices" ticked. The
// mailing's 8 hours are our reading of "overnight"; the counts are Plex's.
func Plex2022() Scenario {
	return Scenario{Name: "plex-2022", People: 15e6, Mailing: 8 * time.Hour, StartHour: 22, SignOut: true}.WithDefaults()
}

func scenarios() []Scenario {
	return []Scenario{
		Plex2022(),
		// May 2011: 77 million accounts; resets by mail were so many that providers throttled them, and Sony switched the
		// service off for 30 minutes to clear the queue. Two days of mailing and 1,000 mails a second are our reading.
		{Name: "psn-2011", People: 77e6, Mailing: 48 * time.Hour, StartHour: 20, MailRate: 1000},
		// Everybody is mailed within an hour in the afternoon: the clean peak is about 600 people a second.
		{Name: "blast-1h", People: 15e6, Mailing: time.Hour, StartHour: 15},
		// The same people over a day. The peak is about 6 times lower, no more: most who reset open the mail within hours.
		{Name: "paced-24h", People: 15e6, Mailing: 24 * time.Hour, StartHour: 15},
		// One client asks 450,000 times beside a quiet day (Stan, 2023). Its rate, 125 a second for an hour, is ours.
		{Name: "refresh-loop", Usual: quietDay, AttackShare: quietAttack, Loop: Loop{Calls: 450_000, Rate: 125}},
		// The blast, and the store stands still for half an hour around its peak.
		{
			Name: "store-dark-30m", People: 15e6, Mailing: time.Hour, StartHour: 15,
			Faults: []Fault{{Kind: StoreDark, At: 45 * time.Minute, For: 30 * time.Minute}},
		},
		// A million customers of whom half sit in offices of 2,000 behind one address each.
		{Name: "nat-office", People: 1e6, Mailing: time.Hour, StartHour: 9, OfficeShare: .5},
		// The provider takes a sixth of the mails that the peak asks for: links wait in line for longer than they live.
		{Name: "mail-slower-than-ttl", People: 15e6, Mailing: time.Hour, StartHour: 15, MailRate: 100},
		// 19 of 20 requests are somebody trying addresses.
		{Name: "bots", People: 1e6, Mailing: time.Hour, StartHour: 15, AttackShare: .95},
		// What it costs when nothing happens.
		{Name: "quiet-day", Usual: quietDay, AttackShare: quietAttack},
	}
}

const (
	// quietDay is one reset a year for each of 30 million accounts. Nobody has published a rate; this is ours.
	quietDay = 30e6 / (365 * 86_400.)
	// quietAttack is the share of requests that are an attack on a quiet day. Ours too.
	quietAttack = .1
)

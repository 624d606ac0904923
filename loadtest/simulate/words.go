package simulate

import (
	"fmt"
	"time"
)

// Words answer a platform team's question in sentences. c is the run's, before thinning; counts of a thinned run are told
// times what was thinned.
func Words(c Config, r Result, a *Answer) []string {
	c = c.WithDefaults()
	n := func(count int) string { return Count(float64(count) * r.Thin) }
	s := c.Scenario
	out := ""
	if s.SignOut {
		out = " and all devices signed out at once"
	}
	lines := []string{
		fmt.Sprintf("People    %s mailed within %v%s: %s came within %v, %s have their new password, %s gave up, %s still wait.",
			Count(s.People), s.Mailing, out, n(r.People), c.Window.Length, n(r.Completed), n(r.GaveUp), n(r.StillWaiting)),
		fmt.Sprintf("Store     takes %.4g passwords a second at its best; %s look-ups and %s passwords were in line at the most.",
			c.Store.Capacity(), n(r.PeakJobs["start"]), n(r.PeakJobs["apply"]+r.PeakJobs["hash"])),
		fmt.Sprintf("Mail      %s; %s mails were in line at the most. A link left after %s at the median, 99 %% within %s.",
			mailWords(c.Mail), n(r.PeakJobs["mail"]), duration(r.MailWaits.P50), duration(r.MailWaits.P99)),
		fmt.Sprintf("Disk      %.3g GB at the most for the queued jobs.", float64(r.PeakBytes)*r.Thin/1e9),
		over(r),
		fmt.Sprintf("Waits     half %s, 90 %% %s, 99 %% %s, 99.9 %% %s, the longest %s (less reading and typing).",
			duration(r.Waits.P50), duration(r.Waits.P90), duration(r.Waits.P99), duration(r.Waits.P999), duration(r.Waits.Max)),
		refused(r),
		fmt.Sprintf("Sign-ins  up to %s/s afterwards, %d devices a person.", Count(r.SignInsPeak*r.Thin), Devices),
		hashingWords(c, r),
	}
	if a != nil {
		lines = append(lines, mailing(c, *a)...)
	}
	return lines
}

func mailWords(m Mail) string {
	if m.Rate == 0 {
		return "takes any number"
	}
	return fmt.Sprintf("takes %.4g/s", m.Rate)
}

func over(r Result) string {
	if r.DrainS == 0 {
		return "Over      there never was a line of more than 5 s."
	}
	level := ""
	if r.PeakLevel > 0 {
		level = fmt.Sprintf(" Brownout level %d at the most.", r.PeakLevel)
	}
	return fmt.Sprintf("Over      after %s nobody waits for more than 5 s in line any more; after %s the last job has ended.%s",
		seconds(r.DrainS), seconds(r.JobsDoneS), level)
}

func refused(r Result) string {
	line := ""
	for _, reason := range Reasons() {
		if n := r.Refused[reason]; n > 0 {
			line += fmt.Sprintf(" %s %s", Count(float64(n)*r.Thin), reason)
		}
	}
	if line == "" {
		line = " no call"
	}
	return fmt.Sprintf("Refused  %s, of %s calls.", line, Count(float64(r.OfferedCalls)*r.Thin))
}

func hashingWords(c Config, r Result) string {
	each := c.Hash.Time.Seconds()
	if c.Hash.Slots > 0 {
		return fmt.Sprintf("Hashing   %d cores, %v a password: at most %.4g/s.", c.Hash.Slots, c.Hash.Time, float64(c.Hash.Slots)/each)
	}
	return fmt.Sprintf("Hashing   the store's. If it takes hashes: %v of a core each, %.3g core-hours in all, %.3g cores for the peak of %s/s.",
		c.Hash.Time, float64(r.Applied)*r.Thin*each/3600, r.PeakApplied*r.Thin*each, Count(r.PeakApplied*r.Thin))
}

func mailing(c Config, a Answer) (lines []string) {
	bound := time.Duration(a.MaxWaitS * float64(time.Second))
	if a.WithoutSignOut {
		lines = append(lines, fmt.Sprintf("Mailing   no mailing is slow enough while all devices are signed out at once: those who come then wait up to %s.", duration(a.SignOutWaitMS)))
	}
	if !a.Found {
		return append(lines, fmt.Sprintf("Mailing   no mailing within %v lets nobody (%s) wait longer than %v.", slowest, a.Measure, bound))
	}
	without := ""
	if a.WithoutSignOut {
		without = "Without it: m"
	} else {
		without = "M"
	}
	return append(lines, fmt.Sprintf("Mailing   %sail over at least %s (%s/s), and nobody (%s) waits longer than %v: %s, the longest %s, in a run of everybody.",
		without, seconds(a.MailingS), Count(a.MailsPerS), a.Measure, bound, duration(a.P999MS), duration(a.MaxMS)))
}

// Count formats a number for people.
func Count(n float64) string {
	switch {
	case n >= 9.95e5:
		return fmt.Sprintf("%.3g M", n/1e6)
	case n >= 1e4:
		return fmt.Sprintf("%.0f k", n/1e3)
	default:
		return fmt.Sprintf("%.0f", n)
	}
}

func duration(ms int64) string {
	if ms < 0 {
		return "for ever"
	}
	return seconds(float64(ms) / 1000)
}

func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%.1f min", d.Minutes())
	default:
		return fmt.Sprintf("%.1f h", d.Hours())
	}
}

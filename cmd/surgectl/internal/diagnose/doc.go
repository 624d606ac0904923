// Package diagnose answers, from one status of a surgegate, what somebody asks who was woken by an alert: are people being
// helped, what is the limit, when is it over, what can I do. It is pure: a status goes in, words come out.
//
//	status ──► line: which lane that people wait in is held up, and by what
//	       ──► findings, each a cause with what to do, the most urgent first
//	       ──► the four answers
//
// A lane is held up when jobs wait in its line for longer than noticeable and the line would not be through in that time at
// the present rate; or sooner, when it grows and is so long already that who comes now will wait for longer than people do.
// Jobs between two tries do not make a line: a full mailbox is tried for an hour on the best of days. They count only where the
// downstream itself is ill.
//
// Of the lanes that are held up the one that does not move comes first, then the one that waits longest. What holds it is
// asked in this order, because each would hide what comes after it: an override of an operator's, a breaker or an outage, calls
// that fail, a limit of calls or of rate that is reached, and then nothing that the status shows.
//
// Findings are Urgent (people are refused or get nothing; somebody has to act), Look (it will get worse, or somebody should
// look in daylight) or Note (good to know: nothing to do). Shedding by level and refusals of one client are what surgegate is
// for: beside them people are helped, and the answers say so.
//
// Failure rules: no false alarm when calm, so every rule has a bound in counts or seconds beside its share, and a test with a
// calm status must give no finding. What the status cannot tell is said to be unknown: a store that takes no more
// is called slow only where the status remembers it a third faster within the last hour; else the finding says where to compare.
//
// Runbooks are named as the alerts are: dashboards/runbooks/NAME.md.
package diagnose

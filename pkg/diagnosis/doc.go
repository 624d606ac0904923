// Package diagnosis answers, from a surgegate's status and the seconds before it, what somebody asks who was woken by an
// alert: are people being helped, what is the limit, when is it over, what can I do. The server evaluates it once a second;
// the operator API, surgectl, the metric surgegate_diagnosis, dashboards and alerts all show that one result.
//
// The package is pure: a status and its time go in, words come out. It starts no goroutine and reads no clock.
//
//	status ─► Speeds: how fast is each downstream beside its best of the last hour?
//	       ─► conditions: what is the matter with each downstream? One condition each, held by the state machine below
//	       ─► line: which lane that people wait in is held up, and by which downstream?
//	       ─► findings: each a cause with what to do, the most urgent first
//	       ─► the answers
//
// # Conditions
//
// A downstream has the first condition of this list that is true:
//
//	breaker_forced_open        fact      an operator holds the breaker open
//	downstream_misconfigured   fact      it, or surgegate's configuration of it, must be changed first
//	downstream_failing         fact      it takes some calls and answers to others that they are too many, whatever its breaker does
//	untried                    fact      the breaker is open, and no call has been made for 10 s: nobody knows how it fares
//	downstream_dark            fact      the breaker is open or half open, or a kind of its calls is out
//	recovering                 fact      it is coming back by the ramp, and no call hangs or has failed in the last 3 s
//	downstream_dark            measured  calls are made and none succeeds, whatever the code
//	downstream_failing         measured  over a tenth of its calls fail
//	downstream_hanging         fact      calls are out, and none has come back for 3 s and ten times the usual time of a call,
//	                                     however many more are sent meanwhile
//	pace_overridden            measured  its pace is used up, and an operator set the pace
//	downstream_slow            measured  its pace is used up, and Speeds prove that it is slower than it was
//	downstream_limit           measured  its calls at once are used up
//	rate_limit                 measured  its items a second are used up
//
// The calls at once are used up when their mean (rate × time of a call, Little's law) is near the limit, or the calls out now are
// and their mean is not far below. Slots that are taken while calls are short are lost inside surgegate and accuse no downstream.
//
// The revoker of today is the store: where the store is not well, or was not in the last 10 s, the revoker has no condition of its
// own. After that its breaker may still be open, and it is untried until a call has been made since the store was well.
//
// # How a condition changes
//
// Measured values jump around their bounds, and whoever acts on a diagnosis needs one cause and not five. So each downstream
// has a state machine. A fact is read from the state of a breaker, of an override or from times, and is true at that moment.
//
//	          any condition                        the same condition: stay, forget the rival
//	none ───────────────────────► shown ◄──────────────────────────────────────────────┐
//	  ▲   (slow begins as limit)    │                                                    │
//	  │                             ├── another condition, or none: it becomes the rival ┘
//	  │                             │
//	  │                             ├── the same rival for 5 s without a break ─────► the rival is shown
//	  └─────────────────────────────┤
//	                                ├── a fact: it is shown at once (a breaker opens)
//	                                └── the shown one was a fact and is not true any more: what is true now, at once
//
// Two facts are not given up at once: a downstream that is dark, or that refuses some calls, and comes back is shown as that after
// 5 s. A provider that throttles opens and closes its breaker every few seconds, and is not back in between.
//
// Whatever alternates more often than every 5 s therefore leaves what is shown as it is. The lane that holds people up most,
// the severity of a finding (it rises at once and falls after 5 s), floods, the global limit and the queue's room change by the
// same machine. The first status after a start has no past: what it says is shown at once.
//
// # The line
//
// A lane is held up when jobs wait in its line for longer than noticeable and the line would not be through in that time at
// the present rate; or sooner, when it grows and is so long already that who comes now will wait for longer than people do.
// Jobs between two tries do not make a line: a full mailbox is tried for an hour on the best of days. They count only where the
// downstream itself is ill. Of the lanes that are held up the one that does not move comes first, then the one that waits longest.
//
// # Speed
//
// Work differs: a storm begins with look-ups of 1 ms and goes on with writes of 21 ms. So speed is compared in cost, which is
// the time of a call for each item, kind by kind, and only with windows in which the same kinds of calls had about the same
// shares of the time and whose batches were not larger (Speeds says how). A downstream is called slower only if it delivers
// less than then and each item takes longer than then. A lower number of calls at once alone proves nothing: a pace that has
// just begun to climb delivers less, too. Nothing is compared while the pace is not used up: nobody asks for more then.
//
// # surgegate itself first
//
// While ProcessStatus says that the process waits for processor time, and for the 10 s of the rates after it, times of calls are
// surgegate's own: gateway_starved is the first finding, and no downstream but its own hash pool is called slow, hanging, at its limit or failing by time-outs. One
// that has not answered for 10 s is: no shortage delays for so long.
//
// # Failure rules
//
// No false alarm when calm, so every rule has a bound in counts or seconds beside its share, and a calm status gives no
// finding. What the status cannot tell is said to be unknown: "not tried since", "nothing to compare with". Shedding by level and
// refusals of one client are what surgegate is for: beside them people are helped, and the answers say so.
//
// Findings are urgent (people are refused or get nothing; somebody has to act), look (it will get worse, or somebody should
// look in daylight) or note (good to know: nothing to do). Runbooks are named as the alerts are: dashboards/runbooks/NAME.md.
// Finding ids are stable; Causes lists all of them.
package diagnosis

package main

import (
	"fmt"
	"strings"
)

// The colours of lanes and downstreams, the same on all panels.
func laneColours() map[string]string {
	return map[string]string{"start": blue, "mail": purple, "hash": yellow, "apply": green, "revoke": grey, "campaign": teal}
}

func downstreamColours() map[string]string {
	return map[string]string{"store": green, "mail": purple, "hash_pool": yellow, "revoker": grey}
}

// with adds colours to others.
func with(colours map[string]string, more map[string]string) map[string]string {
	for name, colour := range more {
		colours[name] = colour
	}
	return colours
}

// The lanes of which a person waits for the end; revocations and campaigns are put off by design.
const interactive = `lane=~"start|mail|hash|apply"`

// The calls that ask for something new; the others only read.
const asks = `call=~"start|complete"`

// refusedVerdicts are answers that send somebody away through no fault of his own.
const refusedVerdicts = `verdict=~"limit_client|limit_global|shed|queue_full|not_durable|draining|key_unknown|store_unknown|internal"`

func storm() board {
	return board{
		File: "storm.json", UID: "surgegate-storm", Title: "surgegate / Storm",
		About:       "The page for a reset storm, read from the top: is it on fire, who limits, then one question a row.",
		Annotations: annotations(),
		Links:       []link{{"Internals (one instance)", "surgegate-internals"}},
		Rows:        []row{onFire(), demand(), promiseRow(), queueRow(), downstreamsRow(), saturation()},
	}
}

// annotations mark what changed. Grafana makes an event of every value above 0.
func annotations() []annotation {
	build := metric("surgegate_build_info")
	return []annotation{
		{Name: "Brownout level", Colour: red, Title: "Brownout level {{level}}, because of {{signal}}",
			Expr: increase("surgegate_brownout_changes_total")},
		{Name: "Breakers", Colour: amber, Title: "Breaker of the {{downstream}}: {{state}}",
			Expr: increase("surgegate_breaker_transitions_total")},
		{Name: "Overrides", Colour: blue, Title: "Override changed: {{kind}}", Expr: "changes(" + metric("surgegate_overrides") +
			"[$__rate_interval])"},
		// 1 while an interval ago there was none of this version.
		{Name: "Versions", Colour: green, Title: "{{instance}} runs {{version}}", Expr: build + " - (" + build +
			" offset $__rate_interval or 0 * " + build + ")"},
	}
}

func onFire() row {
	const height = 3
	tile := func(p panel, expr string) panel {
		p.Tile, p.Width, p.Height, p.Whole, p.Queries = true, 5, height, p.Unit == ratio, []query{{Expr: expr}}
		return p
	}
	// until is a recorded time of the worst instance, the same that its alert goes by. The rule has none where nothing grows:
	// that is a day where there is room, and no time at all where there is none.
	until := func(rule, room string) string {
		return smallest(fmt.Sprintf(`clamp_max(%s, %d) or %[2]d * (%[3]s > bool 0)`, recorded(rule, `instance=~"$instance"`), day, room))
	}
	// named shows which of a label's values have a series above 0, or else none, where there is anything.
	named := func(p panel, label, expr, none, there string) panel {
		p.Tile, p.Names, p.Height = true, true, height
		p.Queries = []query{{fmt.Sprintf(`%s > 0 or on () label_replace(0 * %s, %q, %q, "", "")`, biggest(expr, label), there, label, none),
			"{{" + label + "}}"}}
		return p
	}
	zeroIsGood := []step{{0, green}, {1, red}}
	asked := sum(rate("surgegate_gate_requests_total", asks))
	refused := sum(rate("surgegate_gate_requests_total", asks, refusedVerdicts))
	offered := sum(rate("surgegate_admission_decisions_total"))
	ended := sum(rate("surgegate_promise_resets_total"))
	waiting := sum(now("surgegate_queue_jobs", interactive, `state=~"waiting|retrying"`))
	net := sum(rate("surgegate_queue_out_total", interactive)) + " - " + sum(rate("surgegate_queue_in_total", interactive))
	oldest := biggest(now("surgegate_queue_oldest_wait_seconds", interactive))
	// What surgectl status says of a downstream: red is ill, amber takes no more, or is not known to work.
	said := func(downstream string) string {
		name := `downstream="` + downstream + `"`
		mild := `cause=~"downstream_limit|rate_limit|pace_overridden|recovering|untried"`
		return "2 * " + now("surgegate_diagnosis", name, strings.Replace(mild, "=~", "!~", 1)) + " or " + now("surgegate_diagnosis", name, mild)
	}
	ill := []step{{0, green}, {1, amber}, {2, red}}
	diagnosed := biggest(now("surgegate_diagnosis"))
	never := func(text string) words { return words{From: day, To: 0, Text: text, Colour: green} }
	r := row{Title: "1 · Is it on fire? Who limits?", Read: "top line: people; middle: what stands still; bottom: who limits, its red tile is the cause",
		Panels: []panel{
			tile(panel{Title: "Brownout level", Runbook: "SurgegateBrownoutHigh", Unit: number,
				About: "The highest level of all instances. 1 puts off revocations and confirmations, 2 refuses suspects, 3 refuses new " +
					"starts and takes completions, 4 refuses all but reads. It goes down by itself.",
				Steps: []step{{0, green}, {1, yellow}, {2, amber}, {3, red}},
				Words: []words{{0, 0, "0 fine", ""}, {1, 1, "1 extras", ""}, {2, 2, "2 no bulk", ""}, {3, 3, "3 no starts", ""},
					{4, 4, "4 closed", ""}}},
				biggest(now("surgegate_brownout_level"))),
			tile(panel{Title: "Refused", Runbook: "SurgegateGlobalLimitHit", Unit: ratio,
				About: "Share of asks (starts and completions) that were sent away with a time to come back, for whatever reason.",
				Steps: []step{{0, green}, {0.01, yellow}, {0.1, amber}, {0.5, red}}},
				otherwise(share(refused, asked), 0, asked)),
			tile(panel{Title: "Oldest waits", Runbook: "SurgegateOldestPastPromise", Unit: seconds,
				About: "How long the oldest job that a person waits for has been in its lane. Colours are for the default promise of 5 minutes.",
				Steps: []step{{0, green}, {60, yellow}, {150, amber}, {300, red}}},
				oldest),
			tile(panel{Title: "Queue full in", Runbook: "SurgegateQueueFullSoon", Unit: seconds,
				About: "Time until an instance's queue is at its bound of bytes, if it grows as now.",
				Steps: []step{{0, red}, {600, amber}, {3600, yellow}, {6 * 3600, green}}, Words: []words{never("not growing")}},
				until("surgegate:queue:seconds_to_full", now("surgegate_queue_max_bytes")+" - "+now("surgegate_queue_bytes"))),
			tile(panel{Title: "Drained in", Runbook: "SurgegateOldestPastPromise", Unit: seconds,
				About: "Time until nobody waits any more, if work goes in and out as now. Nobody: no job for longer than 5 s.",
				Steps: []step{{0, green}, {600, yellow}, {3600, amber}}, Words: []words{{0, 0, "nobody waits", green}, {day, 0, "growing", red}}},
				timeUntil(waiting, net)+" * on () ("+oldest+" > bool 5)"),
			tile(panel{Title: "Queue fill", Runbook: "SurgegateQueueFullSoon", Unit: ratio,
				About: "The fullest instance's queue against its bound of bytes.",
				Steps: []step{{0, green}, {0.3, yellow}, {0.5, amber}, {0.8, red}}},
				biggest(now("surgegate_queue_bytes")+" / "+now("surgegate_queue_max_bytes"))),
			named(panel{Title: "Breakers open", Runbook: "SurgegateBreakerOpen", Unit: number, Width: 5, Steps: zeroIsGood,
				About: "Downstreams whose breaker is open or half-open on an instance. What waits for them stays in line and uses up no try."},
				"downstream", now("surgegate_breaker_state", `state!="closed"`), "none", biggest(now("surgegate_breaker_state"))),
			tile(panel{Title: "Not accepting", Runbook: "SurgegateNotAccepting", Unit: number,
				About: "Instances that Prometheus cannot reach, and instances that cannot make anything durable (disk reserve, fault).",
				Steps: zeroIsGood},
				sum("1 - "+metric("up"))+" + ("+otherwise(sum("1 - "+metric("surgegate_queue_accepting")), 0, sum(metric("up")))+")"),
			tile(panel{Title: "Promise kept", Runbook: "SurgegatePromiseFastBurn", Unit: ratio,
				About: "Share of the resets that ended just now within the promise (reset.promise, 5 minutes by default). Resets still in " +
					"line are not in it: see the oldest.",
				Steps: []step{{0, red}, {0.9, amber}, {0.99, green}}},
				otherwise(share(sum(rate("surgegate_promise_resets_total", `outcome="kept"`)), ended), 1, ended)),
			tile(panel{Title: "Overrides", Runbook: "SurgegateOverrideStanding", Unit: number,
				About: "What somebody holds by hand now: lanes, pace, breakers, level, limits. `surgectl overrides list` says who and why.",
				Steps: []step{{0, green}, {1, blue}}},
				sum(now("surgegate_overrides"))),
			named(panel{Title: "The store", Runbook: "SurgegateDownstreamSlow", Unit: number, Width: 5, Steps: ill,
				About: "What `surgectl status` finds at the store. downstream_slow: for the same kinds of calls it is slower than within the last " +
					"hour. downstream_limit: it is at its best, and more people came. Pace and breaker follow by themselves."},
				"cause", said("store"), "nothing", diagnosed),
			named(panel{Title: "The mail provider", Runbook: "SurgegateDownstreamFailing", Unit: number, Width: 5, Steps: ill,
				About: "What `surgectl status` finds at the mail provider. downstream_failing: it throttles or refuses. downstream_slow: it takes " +
					"longer than within the last hour. downstream_dark: nothing gets through."},
				"cause", said("mail"), "nothing", diagnosed),
			tile(panel{Title: "Hashing waits", Runbook: "SurgegateHashPoolBusy", Unit: seconds,
				About: "How long the oldest completion has waited for the hash pool. It is the bottleneck of most storms: more cores, or more " +
					"instances, and nothing else, make it shorter.",
				Steps: []step{{0, green}, {30, amber}, {300, red}}},
				biggest(now("surgegate_queue_oldest_wait_seconds", `lane="hash"`))),
			tile(panel{Title: "One client floods", Runbook: "SurgegateClientFlooding", Unit: ratio,
				About: "Share of all calls that single clients' limits refuse. Far from 0: one address or login sends most of it. " +
					"`surgectl limits clients` names the clients.",
				Steps: []step{{0, green}, {0.1, yellow}, {0.3, amber}, {0.5, red}}},
				otherwise(share(sum(rate("surgegate_admission_decisions_total", `reason=~"limit_client_.+"`)), offered), 0, offered)),
			tile(panel{Title: "Disk at reserve in", Runbook: "SurgegateDiskFilling", Unit: seconds,
				About: "Time until the queue's disk is down to the reserve, if it fills as now: then nothing is accepted. If the queue does " +
					"not grow as fast, something else writes.",
				Steps: []step{{0, red}, {900, amber}, {3600, yellow}, {6 * 3600, green}}, Words: []words{never("not filling")}},
				until("surgegate:disk:seconds_left", now("surgegate_disk_available_bytes")+" - "+now("surgegate_disk_reserve_bytes"))),
			named(panel{Title: "Firing alerts", Runbook: "SurgegateDown", Unit: number, ByAlert: true, Width: pageWidth, Steps: zeroIsGood,
				About: "By name; a click leads to the alert's runbook. Until Prometheus has the rules of dashboards/prometheus nothing can fire."},
				"alertname", `ALERTS{alertstate="firing",alertname=~"Surgegate.+"}`, "nothing fires", "vector(1)"),
		}}
	for i := 4; i < len(r.Panels); i += 5 { // five in a line of 24
		r.Panels[i].Width = 4
	}
	return r
}

func demand() row {
	soon := "(histogram_fraction(0, 10, " + sum(rate("surgegate_gate_eta_seconds")) + ") * histogram_count(" +
		sum(rate("surgegate_gate_eta_seconds")) + ")) >= 0 or " + sum(rate("surgegate_gate_eta_seconds_bucket", `le=~"10(\\.0)?"`))
	accepted := observations("surgegate_gate_eta_seconds")
	refused := sum(rate("surgegate_gate_requests_total", asks, refusedVerdicts))
	return row{Title: "2 · Demand and admission", Read: "green at once, orange waits in line, red is sent away with a time to come back",
		Panels: []panel{
			{Title: "What becomes of asks", About: "Starts and completions a second, stacked: accepted with an ETA of up to 10 s, accepted into " +
				"a longer line, refused.",
				Runbook: "SurgegateGlobalLimitHit", Unit: perSecond, Width: 12, Height: 7, Stack: true,
				Queries: []query{{soon, "accepted, done within 10 s"},
					{"clamp_min(" + accepted + " - (" + soon + "), 0)", "accepted, waits in line"}, {refused, "refused"}},
				Colours: map[string]string{"accepted, done within 10 s": green, "accepted, waits in line": amber, "refused": red}},
			{Title: "Refused, by reason", About: "Asks a second that were refused, by what refused them: a client's limits (by address, by " +
				"login), the global limit, a brownout level, a line too long, a disk that takes nothing.",
				Runbook: "SurgegateClientFlooding", Unit: perSecond, Width: 12, Height: 7,
				Queries: []query{{sum(rate("surgegate_admission_decisions_total", `decision!="admitted"`), "reason") +
					` > 0 or on () label_replace(vector(0), "reason", "by limit or level: none", "", "")`, "{{reason}}"},
					{sum(rate("surgegate_gate_requests_total", asks, `verdict=~"queue_full|not_durable|draining|key_unknown|store_unknown|internal"`),
						"verdict") + ` > 0 or on () label_replace(vector(0), "verdict", "for want of room: none", "", "")`, "{{verdict}}"}},
				Colours: map[string]string{"limit_client_ip": red, "limit_client_id": "dark-red", "limit_global": amber, "shed_level_2": yellow,
					"shed_level_3": "dark-yellow", "shed_level_4": "dark-orange", "queue_full": purple, "not_durable": blue, "draining": grey,
					"key_unknown": teal, "store_unknown": green, "internal": "#FF00FF", "by limit or level: none": grey, "for want of room: none": grey}},
			{Title: "Offered, now and then", About: "Calls a second that came in, reads left out, and the same a day ago (0 where Prometheus has " +
				"nothing from then).",
				Runbook: "SurgegateGlobalLimitHit", Unit: perSecond, Width: 6, Height: 6,
				Queries: []query{{sum(rate("surgegate_admission_decisions_total")), "now"},
					{orZero(sum("rate(" + metric("surgegate_admission_decisions_total") + "[$__rate_interval] offset 1d)")), "a day ago"}},
				Colours: map[string]string{"now": blue, "a day ago": grey}, Dashed: []string{"a day ago"}},
			{Title: "Answers, by code", About: "Answers a second of the public API, by gRPC code. RESOURCE_EXHAUSTED is designed; INTERNAL and " +
				"UNKNOWN never are.",
				Runbook: "SurgegateAcceptFastBurn", Unit: perSecond, Width: 6, Height: 6,
				Queries: []query{{sum(rate("grpc_server_handled_total", `grpc_service="surgegate.reset.v1.PasswordReset"`), "grpc_code") +
					" > 0 or on () " +
					`label_replace(vector(0), "grpc_code", "OK", "", "")`, "{{grpc_code}}"}},
				Colours: map[string]string{"OK": green, "ResourceExhausted": amber, "Unavailable": red, "Internal": "#FF00FF"}},
			{Title: "Time to answer, p99", About: "From a call's arrival to its answer. A call that asked to wait for its end is held on " +
				"purpose, up to 30 s.",
				Runbook: "SurgegateAcceptFastBurn", Unit: seconds, Width: 6, Height: 6, Log: true,
				Queries: []query{{quantile(0.99, "surgegate_gate_request_seconds", []string{"call"}, `call!="watch_ticket"`), "{{call}}"}},
				Colours: map[string]string{"start": blue, "complete": green, "check_token": yellow, "get_ticket": grey}},
			{Title: "Global limit: tokens left", About: "Tokens left in the global bucket of the emptiest instance, beside what comes in again " +
				"each second. At 0 the global limit refuses.",
				Runbook: "SurgegateGlobalLimitHit", Unit: "short", Width: 6, Height: 6,
				Queries: []query{{smallest(metric("surgegate_admission_tokens")), "left"},
					{smallest(metric("surgegate_admission_limit", `rule="global"`)), "refill a second"}},
				Colours: map[string]string{"left": green, "refill a second": grey}, Dashed: []string{"refill.*"}},
		}}
}

func promiseRow() row {
	ages := func(q float64, lanes string) string {
		return quantile(q, "surgegate_ticket_age_seconds", nil, lanes, `state="done"`)
	}
	return row{Title: "3 · The promise to people", Read: "only links late: mail; only passwords late: store or hash pool",
		Panels: []panel{
			{Title: "From accepted to done", About: "Age of what ended just now: mails sent, and passwords in the store. Confirmations, which " +
				"wait by design, are in the mails' p99. The line is the promise. What still waits is in \"Oldest wait, by lane\".",
				Runbook: "SurgegateOldestPastPromise",
				Unit:    seconds, Width: 12, Height: 7, Log: true,
				Queries: []query{{ages(0.5, `lane="mail"`), "mail, p50"}, {ages(0.99, `lane="mail"`), "mail, p99"},
					{ages(0.5, `lane="apply"`), "password, p50"}, {ages(0.99, `lane="apply"`), "password, p99"},
					{biggest(metric("surgegate_promise_seconds")), "promise"}},
				Colours: map[string]string{"mail, p50": "light-purple", "mail, p99": purple, "password, p50": "light-green", "password, p99": green,
					"promise": red}, Dashed: []string{"promise"}},
			{Title: "Kept within the promise", About: "Share of the resets that ended just now and were in time, by part; 1 where none ended. " +
				"The objective is 99 %.",
				Runbook: "SurgegatePromiseFastBurn", Unit: ratio, Width: 6, Height: 7, Max: 1,
				Queries: []query{{share(sum(rate("surgegate_promise_resets_total", `outcome="kept"`), "part"),
					sum(rate("surgegate_promise_resets_total"), "part")) + " or 1 + 0 * " + sum(rate("surgegate_promise_resets_total"), "part"),
					"{{part}}"}},
				Colours: map[string]string{"link": purple, "password": green}},
			{Title: "Error budget: burn", About: "How many times faster than allowed the budget of 1 % broken promises is used up, over an hour " +
				"and five minutes. Both above 14.4 pages.", Runbook: "SurgegatePromiseFastBurn", Unit: number, Width: 6, Height: 7,
				Queries: []query{{biggest(recorded("surgegate:promise:burn1h"), "part"), "{{part}}, 1 h"},
					{biggest(recorded("surgegate:promise:burn5m"), "part"), "{{part}}, 5 min"}},
				Colours: map[string]string{"link, 1 h": purple, "password, 1 h": green, "link, 5 min": "light-purple",
					"password, 5 min": "light-green"},
				Steps: []step{{0, green}, {14.4, red}}},
			{Title: "ETA told, beside the truth", About: "What callers were told at acceptance (high end, median), and how old completions were " +
				"at their end. Told far below the truth: something became slower than measured.", Runbook: "SurgegateDownstreamSlow", Unit: seconds,
				Width: 6, Height: 6, Log: true,
				Queries: []query{{quantile(0.5, "surgegate_gate_eta_seconds", []string{"line"}), "told: {{line}}"}, {ages(0.5, `lane="apply"`),
					"truth: completion"}},
				Colours: map[string]string{"told: start": purple, "told: completion": "light-green", "truth: completion": green}},
			{Title: "Mails, by what became of them", About: "Mails a second. Withheld: a link mailed earlier is still good. Refused: the " +
				"provider will never take it.",
				Runbook: "SurgegateDownstreamFailing", Unit: perSecond, Width: 6, Height: 6,
				Queries: []query{{sum(rate("surgegate_mails_total"), "purpose", "outcome") + " > 0 or on () " +
					`label_replace(label_replace(vector(0), "purpose", "link", "", ""), "outcome", "sent", "", "")`, "{{purpose}} {{outcome}}"}},
				Colours: map[string]string{"link sent": purple, "confirmation sent": green, "link withheld": amber, "link refused": red}},
			{Title: "Given up, parked, tried again", About: "Expired: a sealed password waited too long. Parked: tries used up, an operator must " +
				"look (`surgectl parked list`). Tried again: by whether a try was used up.", Runbook: "SurgegateParkedJobs", Unit: perSecond,
				Width: 6, Height: 6,
				Queries: []query{{sum(rate("surgegate_jobs_expired_total")), "expired"}, {sum(rate("surgegate_jobs_parked_total")), "parked"},
					{sum(rate("surgegate_jobs_retried_total"), "tries"), "again, try {{tries}}"}},
				Colours: map[string]string{"expired": red, "parked": "dark-red", "again, try used": amber, "again, try kept": yellow}},
			{Title: "Error budget left", About: "Of the budget of broken promises for the window that the rules keep, by part: 1 is untouched, 0 " +
				"is used up.",
				Runbook: "SurgegatePromiseSlowBurn", Unit: ratio, Width: 6, Height: 6, Max: 1, Free: true,
				Queries: []query{{smallest(recorded("surgegate:promise:budget_left"), "part"), "{{part}}"}},
				Colours: map[string]string{"link": purple, "password": green}, Steps: []step{{0, red}, {0, red}}},
		}}
}

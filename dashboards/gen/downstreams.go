package main

func queueRow() row {
	flow := func(name string) string { return sum(rate(name), "lane") }
	return row{Title: "4 · The queue: where does it wait?", Read: "start and apply: the store; mail: its provider; hash: processors; revoke by design",
		Panels: []panel{
			{Title: "Waiting, by lane", About: "Jobs in line or put back in line, by lane, stacked. Confirmations wait in mail, by design: look " +
				"at the oldest too.", Runbook: "SurgegateOldestPastPromise",
				Unit: "short", Width: 12, Height: 7, Stack: true,
				Queries: []query{{sum(metric("surgegate_queue_jobs", `state=~"waiting|retrying"`), "lane"), "{{lane}}"}}, Colours: laneColours()},
			{Title: "Oldest wait, by lane", About: "How long the oldest job of a lane has waited. A line that rises by a second a second: " +
				"nothing leaves that lane in order.",
				Runbook: "SurgegateOldestPastPromise", Unit: seconds, Width: 6, Height: 7,
				Queries: []query{{biggest(metric("surgegate_queue_oldest_wait_seconds"), "lane"), "{{lane}}"},
					{biggest(metric("surgegate_promise_seconds")), "promise"}},
				Colours: with(laneColours(), map[string]string{"promise": red}), Dashed: []string{"promise"}},
			{Title: "In less out, by lane", About: "Jobs a second that came into a lane, less those that left it: above 0 the line grows. In and " +
				"out by themselves are on Internals.",
				Runbook: "SurgegateQueueFullSoon", Unit: perSecond, Width: 6, Height: 7, Free: true,
				Queries: []query{{flow("surgegate_queue_in_total") + " - " + flow("surgegate_queue_out_total"), "{{lane}}"}}, Colours: laneColours()},
			{Title: "How near each bound is", About: "What moves the brownout level: each signal as a share of its bound, on the worst instance. " +
				"wait and cpu: 1 is what asks for level 1, and is not shown beyond 1.2. The others ask for levels from 0.5 on.",
				Runbook: "SurgegateBrownoutHigh", Unit: ratio, Width: 6, Height: 6, Max: 1, Steps: []step{{0, green}, {1, red}},
				Queries: []query{{"clamp_max(" + biggest(metric("surgegate_brownout_signal_ratio"), "signal") + ", 1.2)", "{{signal}}"}},
				Colours: map[string]string{"wait": purple, "wait_share": "light-purple", "queue": blue, "disk": red, "heap": amber, "cpu": yellow}},
			{Title: "Disk", About: "Free bytes of the fullest queue disk, its reserve (below it nothing is accepted), and the biggest queue.",
				Runbook: "SurgegateDiskFilling",
				Unit:    size, Width: 6, Height: 6,
				Queries: []query{{smallest(metric("surgegate_disk_available_bytes")), "free"}, {biggest(metric("surgegate_disk_reserve_bytes")),
					"reserve"},
					{biggest(metric("surgegate_queue_bytes")), "queue"}},
				Colours: map[string]string{"free": green, "reserve": red, "queue": blue}, Dashed: []string{"reserve"}},
			{Title: "Commit and fsync, p99", About: "Time of a commit, and of the disk's fsync in it. Every accepted ask waits for one; when " +
				"this rises, the disk is slow.",
				Runbook: "SurgegateNotAccepting", Unit: seconds, Width: 6, Height: 6, Log: true,
				Queries: []query{{quantile(0.99, "surgegate_queue_commit_seconds", nil), "commit"}, {quantile(0.99, "surgegate_queue_fsync_seconds",
					nil), "fsync"}},
				Colours: map[string]string{"commit": blue, "fsync": red}},
			{Title: "Conservation", About: "Jobs enqueued, less ended, less held, on the worst instance. Anything but 0 is a fault of " +
				"surgegate.", Runbook: "SurgegateConservationBroken",
				Unit: number, Width: 6, Height: 6, Free: true, Steps: []step{{0, green}, {0.5, red}},
				Queries: []query{{biggest("abs(" + metric("surgegate_queue_conservation") + ")"), "miscounted"}, {sum("increase(" +
					metric("surgegate_queue_fsync_errors_total") + "[$__rate_interval])"), "fsync errors"}},
				Colours: map[string]string{"miscounted": green, "fsync errors": red}},
		}}
}

func downstreamsRow() row {
	each := []string{"downstream"}
	return row{Title: "5 · Downstreams: who does not take it?", Read: "busy and slower than usual: the cause; busy at usual speed: the storm is bigger",
		Panels: []panel{
			{Title: "Who limits: busy share of the pace",
				About: "The fuller of calls at once ÷ limit and items a second ÷ rate, by downstream, all instances together. " +
					"Near 1: people wait for this one.",
				Runbook: "SurgegateDownstreamSlow", Unit: ratio, Width: 12, Height: 7, Max: 1,
				Queries: []query{{biggest(recorded("surgegate:downstream:busy_ratio"), each...), "{{downstream}}"}}, Colours: downstreamColours()},
			{Title: "Speed beside the best of the hour", About: "How fast each downstream works ÷ its best 10 s of the last hour, for the same " +
				"kinds of calls: look-ups with look-ups, writes with writes. 100 % also while its pace is not used up, or there is nothing " +
				"to compare with.",
				Runbook: "SurgegateDownstreamSlow", Unit: ratio, Width: 6, Height: 7, Max: 1, Steps: []step{{0, red}, {0.6, red}},
				Queries: []query{{smallest(metric("surgegate_downstream_speed_ratio"), each...), "{{downstream}}"}}, Colours: downstreamColours()},
			{Title: "Delivered, and pace", About: "Items a second that went through, and the rate that the pace allows (0: only calls at once " +
				"are bounded).",
				Runbook: "SurgegateDownstreamSlow", Unit: perSecond, Width: 6, Height: 7,
				Queries: []query{{sum(rate("surgegate_downstream_items_total", `outcome="ok"`), each...), "{{downstream}}"},
					{sum(metric("surgegate_downstream_rate_limit"), each...), "{{downstream}}, pace"}},
				Colours: with(downstreamColours(), map[string]string{"store, pace": green, "mail, pace": purple, "hash_pool, pace": yellow,
					"revoker, pace": grey}),
				Dashed: []string{".*pace"}},
			{Title: "Time of a call, p50 and p99", About: "From sending to the answer. Twice the usual at an unchanged number of calls at once: " +
				"half the speed.",
				Runbook: "SurgegateDownstreamSlow", Unit: seconds, Width: 12, Height: 7, Log: true,
				Queries: []query{{quantile(0.5, "surgegate_downstream_call_seconds", each), "{{downstream}}, p50"},
					{quantile(0.99, "surgegate_downstream_call_seconds", each), "{{downstream}}, p99"}},
				Colours: map[string]string{"store, p50": "light-green", "store, p99": green, "mail, p50": "light-purple", "mail, p99": purple,
					"hash_pool, p50": "light-yellow", "hash_pool, p99": yellow, "revoker, p50": grey, "revoker, p99": grey}},
			{Title: "Calls that fail", About: "Calls a second that ended badly. Overload: it said that it is too much (SMTP 4xx, " +
				"RESOURCE_EXHAUSTED); timeout: no answer in time; error: the rest.",
				Runbook: "SurgegateDownstreamFailing", Unit: perSecond, Width: 6, Height: 7,
				Queries: []query{{sum(rate("surgegate_downstream_calls_total", `outcome=~"overload|timeout|error"`), "downstream", "outcome") +
					" > 0 or on () " +
					`label_replace(label_replace(vector(0), "downstream", "store", "", ""), "outcome", "error", "", "")`, "{{downstream}}: {{outcome}}"}},
				Colours: map[string]string{"store: error": red, "store: timeout": "dark-red", "store: overload": amber, "mail: overload": purple,
					"mail: error": "dark-purple", "mail: timeout": "light-purple"}},
			{Title: "Breaker's share let through", About: "1: closed. 0: open, nothing is sent. In between: it recovers by a ramp, so that the " +
				"downstream is not hit by everything at once.",
				Runbook: "SurgegateBreakerOpen", Unit: ratio, Width: 6, Height: 7, Max: 1,
				Queries: []query{{smallest(metric("surgegate_downstream_ramp_ratio")+" * on (job, instance, downstream) (1 - "+
					metric("surgegate_breaker_state", `state="open"`)+")", each...), "{{downstream}}"}}, Colours: downstreamColours()},
			{Title: "Calls at once, and limit", About: "Calls inside a downstream now, and how many the pace allows.",
				Runbook: "SurgegateDownstreamSlow", Unit: "short", Width: 6, Height: 6,
				Queries: []query{{sum("avg_over_time("+metric("surgegate_downstream_in_flight")+"[$__rate_interval])", each...), "{{downstream}}"},
					{sum(metric("surgegate_downstream_concurrency_limit"), each...), "{{downstream}}, limit"}},
				Colours: with(downstreamColours(), map[string]string{"store, limit": green, "mail, limit": purple, "hash_pool, limit": yellow,
					"revoker, limit": grey}),
				Dashed: []string{".*limit"}},
			{Title: "Items in a call", About: "Mean batch. A backlog makes batches, and batches make the store cheaper; 1 in a storm means that " +
				"it does not batch.",
				Runbook: "SurgegateDownstreamSlow", Unit: "short", Width: 6, Height: 6,
				Queries: []query{{mean("surgegate_downstream_batch_items", each), "{{downstream}}"}}, Colours: downstreamColours()},
			{Title: "The store's time, by lane", About: "Cost that the store served, a second, by lane: who gets it. Completions come before " +
				"starts.", Runbook: "SurgegateDownstreamSlow",
				Unit: perSecond, Width: 6, Height: 6, Stack: true,
				Queries: []query{{sum(rate("surgegate_downstream_cost_total", `downstream="store"`), "lane"), "{{lane}}"}}, Colours: laneColours()},
			{Title: "Held by hand", About: "Overrides in force, by kind, and lanes that are paused. They end by themselves; surgectl overrides " +
				"list says when.",
				Runbook: "SurgegateOverrideStanding", Unit: number, Width: 6, Height: 6,
				Queries: []query{{sum(metric("surgegate_overrides"), "kind"), "{{kind}}"}, {sum(metric("surgegate_lane_paused"), "lane"),
					"{{lane}} paused"}},
				Colours: map[string]string{"lane": blue, "pace": green, "breaker": amber, "brownout": red, "limit": yellow}},
		}}
}

func saturation() row {
	each := []string{"instance"}
	chart := func(p panel, queries ...query) panel {
		p.Width, p.Height, p.Queries = 6, 6, queries
		return p
	}
	return row{Title: "6 · Saturation: what has each instance left?", Collapsed: true,
		Panels: []panel{
			chart(panel{Title: "Processor", Unit: ratio, Runbook: "SurgegateHashPoolBusy", Max: 1,
				About: "Share of the processors that an instance may use. Near 1 with a busy hash pool: hashing."},
				query{share(rate("process_cpu_seconds_total"), metric("go_sched_gomaxprocs_threads")), "{{instance}}"}),
			chart(panel{Title: "Waits for a processor", Unit: seconds, Runbook: "SurgegateStarved", Steps: []step{{0, green}, {0.005, red}},
				About: "How long whatever is ready to run waits for a processor (p90 over 5 s), on an instance. From 5 ms on surgegate is short of " +
					"processor time: what it measures of store and mail has its own delay in it."},
				query{biggest(metric("surgegate_scheduling_delay_seconds"), each...), "{{instance}}"}),
			chart(panel{Title: "Short of processor time", Unit: ratio, Runbook: "SurgegateStarved", Max: 1,
				About: "Share of the time in which an instance was short of processor time; it raises no pace then and defers extras."},
				query{biggest("avg_over_time("+metric("surgegate_cpu_starved")+"[$__rate_interval])", each...), "{{instance}}"}),
			chart(panel{Title: "Held back by a quota", Unit: number, Runbook: "SurgegateStarved",
				About: "Seconds a second for which a cgroup's CPU quota stopped an instance, summed over processors. 0 without a quota."},
				query{biggest(rate("surgegate_cpu_throttled_seconds_total"), each...), "{{instance}}"}),
			chart(panel{Title: "Memory", Unit: size, Runbook: "SurgegateBrownoutHigh",
				About: "Resident bytes."},
				query{biggest(metric("process_resident_memory_bytes"), each...), "{{instance}}"}),
			chart(panel{Title: "Goroutines", Unit: "short", Runbook: "SurgegateBrownoutHigh",
				About: "Grows with callers that are held and watched tickets; without them, a leak."},
				query{biggest(metric("go_goroutines"), each...), "{{instance}}"}),
			chart(panel{Title: "Longest pause of the garbage collector", Unit: seconds, Runbook: "SurgegateBrownoutHigh",
				About: "The longest of the last pauses."},
				query{biggest(metric("go_gc_duration_seconds", `quantile=~"1(\\.0)?"`), each...), "{{instance}}"}),
			chart(panel{Title: "Disk left above the reserve", Unit: size, Runbook: "SurgegateDiskFilling",
				About: "At 0 the instance accepts nothing more."},
				query{smallest(metric("surgegate_disk_available_bytes")+" - "+metric("surgegate_disk_reserve_bytes"), each...), "{{instance}}"}),
			chart(panel{Title: "Hash pool: slots in use", Unit: ratio, Runbook: "SurgegateHashPoolBusy", Max: 1,
				About: "Share of the slots that hash now. The pool has one slot less than cores, or what hash.slots says."},
				query{metric("surgegate_hashpool_slots_in_use") + " / " + metric("surgegate_hashpool_slots"), "{{instance}}"}),
			chart(panel{Title: "Connections", Unit: "short", Runbook: "SurgegateClientFlooding",
				About: "Open connections, by listener."},
				query{sum(metric("surgegate_grpc_connections"), "listener"), "{{listener}}"}),
			chart(panel{Title: "Open files", Unit: ratio, Runbook: "SurgegateNotAccepting", Max: 1,
				About: "Share of the files that the process may open."},
				query{metric("process_open_fds") + " / " + metric("process_max_fds"), "{{instance}}"}),
		}}
}

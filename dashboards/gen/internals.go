package main

func internals() board {
	return board{
		File: "internals.json", UID: "surgegate-internals", Title: "surgegate / Internals", One: true,
		About:       "One instance from the inside, when Storm has told which.",
		Annotations: annotations(),
		Links:       []link{{"Storm (the incident page)", "surgegate-storm"}},
		Rows:        []row{edgeRow(), engineRow(), paceRow(), poolRow(), admissionRow(), steeringRow(), runtimeRow()},
	}
}

// inner is a chart of Internals: four stand in a line.
func inner(p panel, queries ...query) panel {
	p.Width, p.Height, p.Queries = 6, 7, queries
	switch queries[0].Legend {
	case "{{lane}}":
		p.Colours = laneColours()
	case "{{downstream}}":
		p.Colours = downstreamColours()
	}
	return p
}

func logScale(p panel) panel {
	p.Log = true
	return p
}

func increase(name string, more ...string) string {
	return "increase(" + metric(name, more...) + "[$__rate_interval])"
}

func edgeRow() row {
	return row{Title: "gRPC: the edge", Panels: []panel{
		inner(panel{Title: "Calls, by method", Unit: perSecond, Runbook: "SurgegateAcceptFastBurn",
			About: "Calls a second that began."},
			query{sum(rate("grpc_server_started_total", `grpc_service=~"surgegate.*"`), "grpc_method"), "{{grpc_method}}"}),
		inner(panel{Title: "Verdicts", Unit: perSecond, Runbook: "SurgegateAcceptFastBurn",
			About: "Calls a second, by what the gate said."},
			query{sum(rate("surgegate_gate_requests_total"), "verdict"), "{{verdict}}"}),
		logScale(inner(panel{Title: "Time in the server, p99", Unit: seconds, Runbook: "SurgegateAcceptFastBurn",
			About: "With the edge's own work; exemplars lead to traces."},
			query{quantile(0.99, "grpc_server_handling_seconds", []string{"grpc_method"}, `grpc_service="surgegate.reset.v1.PasswordReset"`),
				"{{grpc_method}}"})),
		inner(panel{Title: "Messages", Unit: perSecond, Runbook: "SurgegateAcceptFastBurn",
			About: "Messages a second, received and sent; streams send many."},
			query{sum(rate("grpc_server_msg_received_total")), "received"}, query{sum(rate("grpc_server_msg_sent_total")), "sent"}),
		inner(panel{Title: "Connections", Unit: "short", Runbook: "SurgegateClientFlooding",
			About: "Open connections, by listener, and those that were refused, a second."},
			query{metric("surgegate_grpc_connections"), "{{listener}}"}, query{rate("surgegate_grpc_refused_connections_total"),
				"refused: {{listener}}"}),
		inner(panel{Title: "Tickets followed", Unit: "short", Runbook: "SurgegateBrownoutHigh",
			About: "Tickets that somebody watches or waits for, and watch streams."},
			query{metric("surgegate_gate_tickets_watched"), "{{by}}"}, query{metric("surgegate_grpc_watches"), "streams"}),
		inner(panel{Title: "Bad calls", Unit: perSecond, Runbook: "SurgegatePanic",
			About: "Client addresses that were not believed and calls that panicked, a second."},
			query{rate("surgegate_grpc_ignored_clients_total"), "client ignored"}, query{rate("surgegate_grpc_panics_total"), "panic"}),
		inner(panel{Title: "Version", Unit: number, Runbook: "SurgegateDown",
			About: "1, with the version that runs."},
			query{metric("surgegate_build_info"), "{{version}}, {{goversion}}"}),
	}}
}

func engineRow() row {
	return row{Title: "The queue's engine", Panels: []panel{
		inner(panel{Title: "Jobs, by state", Unit: "short", Runbook: "SurgegateParkedJobs",
			About: "All jobs that are held."},
			query{sum(metric("surgegate_queue_jobs"), "state"), "{{state}}"}),
		inner(panel{Title: "In and out, by lane", Unit: perSecond, Runbook: "SurgegateQueueFullSoon",
			About: "Jobs a second that came into a lane, and that left it."},
			query{rate("surgegate_queue_in_total"), "{{lane}} in"}, query{rate("surgegate_queue_out_total"), "{{lane}} out"}),
		inner(panel{Title: "Enqueues, by verdict", Unit: perSecond, Runbook: "SurgegateNotAccepting",
			About: "What the engine answered, a second."},
			query{rate("surgegate_queue_enqueues_total"), "{{verdict}}"}),
		inner(panel{Title: "Requests in a commit", Unit: "short", Runbook: "SurgegateNotAccepting",
			About: "Mean size of a group commit: it grows with the load, and that is how one disk serves many."},
			query{mean("surgegate_queue_commit_requests", nil), "requests"}),
		logScale(inner(panel{Title: "Commit", Unit: seconds, Runbook: "SurgegateNotAccepting",
			About: "Time of a group commit."},
			query{quantile(0.5, "surgegate_queue_commit_seconds", nil), "p50"}, query{quantile(0.99, "surgegate_queue_commit_seconds", nil),
				"p99"})),
		logScale(inner(panel{Title: "fsync", Unit: seconds, Runbook: "SurgegateNotAccepting",
			About: "Time of the disk."},
			query{quantile(0.5, "surgegate_queue_fsync_seconds", nil), "p50"}, query{quantile(0.99, "surgegate_queue_fsync_seconds", nil), "p99"})),
		inner(panel{Title: "Bytes", Unit: size, Runbook: "SurgegateQueueFullSoon",
			About: "What the queue holds, against its bound, and the disk."},
			query{metric("surgegate_queue_bytes"), "queue"}, query{metric("surgegate_queue_max_bytes"), "bound"},
			query{metric("surgegate_disk_available_bytes"), "disk free"}, query{metric("surgegate_disk_reserve_bytes"), "reserve"}),
		inner(panel{Title: "Accepting, conserved", Unit: number, Runbook: "SurgegateConservationBroken",
			About: "Accepting is 1 or 0; miscounted jobs and fsync errors are 0."},
			query{metric("surgegate_queue_accepting"), "accepting"}, query{metric("surgegate_queue_conservation"), "miscounted"},
			query{increase("surgegate_queue_fsync_errors_total"), "fsync errors"}),
		inner(panel{Title: "Expired and parked, by lane", Unit: perSecond, Runbook: "SurgegateParkedJobs",
			About: "Jobs a second."},
			query{rate("surgegate_jobs_expired_total"), "{{lane}} expired"}, query{rate("surgegate_jobs_parked_total"), "{{lane}} parked"}),
		inner(panel{Title: "Put back in line, by lane", Unit: perSecond, Runbook: "SurgegateDownstreamFailing",
			About: "Jobs a second that were tried and go on later. Kept: the downstream's fault, no try used."},
			query{rate("surgegate_jobs_retried_total"), "{{lane}}, try {{tries}}"}),
		logScale(inner(panel{Title: "Age at the end, p99", Unit: seconds, Runbook: "SurgegateOldestPastPromise",
			About: "By lane, for all ends."},
			query{quantile(0.99, "surgegate_ticket_age_seconds", []string{"lane"}), "{{lane}}"})),
		logScale(inner(panel{Title: "ETA told, p50 and p99", Unit: seconds, Runbook: "SurgegateOldestPastPromise",
			About: "High end, at acceptance."},
			query{quantile(0.5, "surgegate_gate_eta_seconds", []string{"line"}), "{{line}}, p50"}, query{quantile(0.99,
				"surgegate_gate_eta_seconds", []string{"line"}), "{{line}}, p99"})),
	}}
}

func paceRow() row {
	each := []string{"downstream"}
	return row{Title: "Pacers and breakers", Panels: []panel{
		inner(panel{Title: "Calls at once, and limit", Unit: "short", Runbook: "SurgegateDownstreamSlow",
			About: "Now, and what the pace allows."},
			query{metric("surgegate_downstream_in_flight"), "{{downstream}}"}, query{metric("surgegate_downstream_concurrency_limit"),
				"{{downstream}}, limit"}),
		inner(panel{Title: "Rate, and delivered", Unit: perSecond, Runbook: "SurgegateDownstreamSlow",
			About: "Items a second."},
			query{metric("surgegate_downstream_rate_limit"), "{{downstream}}, pace"}, query{sum(rate("surgegate_downstream_items_total"),
				"downstream", "outcome") + " > 0 or " +
				sum(rate("surgegate_downstream_items_total", `outcome="ok"`), "downstream", "outcome"), "{{downstream}} {{outcome}}"}),
		logScale(inner(panel{Title: "Time of a call", Unit: seconds, Runbook: "SurgegateDownstreamSlow",
			About: "p50 and p99."},
			query{quantile(0.5, "surgegate_downstream_call_seconds", each), "{{downstream}}, p50"}, query{quantile(0.99,
				"surgegate_downstream_call_seconds", each), "{{downstream}}, p99"})),
		inner(panel{Title: "Items in a call", Unit: "short", Runbook: "SurgegateDownstreamSlow",
			About: "Mean batch."},
			query{mean("surgegate_downstream_batch_items", each), "{{downstream}}"}),
		inner(panel{Title: "Calls, by outcome", Unit: perSecond, Runbook: "SurgegateDownstreamFailing",
			About: "Calls a second."},
			query{rate("surgegate_downstream_calls_total"), "{{downstream}} {{outcome}}"}),
		inner(panel{Title: "Breakers", Unit: number, Runbook: "SurgegateBreakerOpen",
			About: "1 for the state that a breaker is in."},
			query{metric("surgegate_breaker_state", `state!="closed"`), "{{downstream}} {{state}}"}),
		inner(panel{Title: "Breakers: changes", Unit: number, Runbook: "SurgegateBreakerOpen",
			About: "How often a state was entered."},
			query{increase("surgegate_breaker_transitions_total"), "{{downstream}} {{state}}"}),
		inner(panel{Title: "Ramp, store described", Unit: ratio, Runbook: "SurgegateBreakerOpen",
			About: "Share let through while recovering; described: 1 if the store's last description was had and can be met."},
			query{metric("surgegate_downstream_ramp_ratio"), "{{downstream}}"}, query{metric("surgegate_store_described"), "described"}),
		inner(panel{Title: "Cost, by lane", Unit: perSecond, Runbook: "SurgegateDownstreamSlow",
			About: "Cost a second, in the fair shares' own unit."},
			query{rate("surgegate_downstream_cost_total"), "{{downstream}}, {{lane}}"}),
		inner(panel{Title: "Lanes' weights", Unit: number, Runbook: "SurgegateOverrideStanding",
			About: "The share of a downstream that a lane gets while others wait too; 0 while paused."},
			query{metric("surgegate_lane_weight") + " * on (job, instance, lane) (1 - " + metric("surgegate_lane_paused") + ")", "{{lane}}"}),
		inner(panel{Title: "Mails", Unit: perSecond, Runbook: "SurgegateDownstreamFailing",
			About: "Mails a second, by purpose and outcome."},
			query{rate("surgegate_mails_total"), "{{purpose}} {{outcome}}"}),
		inner(panel{Title: "What the diagnosis finds", Unit: number, Runbook: "SurgegateDownstreamSlow",
			About: "1 for each finding of surgectl status, by cause and downstream."},
			query{metric("surgegate_diagnosis") + " > 0", "{{cause}} {{downstream}}"}),
		inner(panel{Title: "Who limits", Unit: ratio, Runbook: "SurgegateDownstreamSlow",
			About: "As on Storm, of all instances of the job: busy share of the pace."},
			query{recorded("surgegate:downstream:busy_ratio"), "{{downstream}}"}),
	}}
}

func poolRow() row {
	return row{Title: "Hash pool and keys", Panels: []panel{
		inner(panel{Title: "Slots", Unit: "short", Runbook: "SurgegateHashPoolBusy",
			About: "Slots, those that hash now, and jobs that wait for one."},
			query{metric("surgegate_hashpool_slots"), "slots"}, query{metric("surgegate_hashpool_slots_in_use"), "in use"},
			query{metric("surgegate_hashpool_waiting"), "waiting"}),
		inner(panel{Title: "Waits for a processor", Unit: seconds, Runbook: "SurgegateStarved",
			About: "How long whatever is ready to run waits for a processor: p90 over 5 s. From 5 ms on it is short of processor time."},
			query{metric("surgegate_scheduling_delay_seconds"), "delay"}),
		inner(panel{Title: "Short of processor time, held back by a quota", Unit: number, Runbook: "SurgegateStarved",
			About: "1 while it is short of processor time; seconds a second for which a cgroup's quota held it back."},
			query{metric("surgegate_cpu_starved"), "short"}, query{rate("surgegate_cpu_throttled_seconds_total"), "held back"}),
		inner(panel{Title: "Memory", Unit: size, Runbook: "SurgegateHashPoolBusy",
			About: "In use, against the budget."},
			query{metric("surgegate_hashpool_memory_in_use_bytes"), "in use"}, query{metric("surgegate_hashpool_memory_budget_bytes"), "budget"}),
		logScale(inner(panel{Title: "Time of a hash, p50", Unit: seconds, Runbook: "SurgegateHashPoolBusy",
			About: "By algorithm and operation."},
			query{quantile(0.5, "surgegate_hashpool_seconds", []string{"algorithm", "operation"}), "{{algorithm}} {{operation}}"})),
		inner(panel{Title: "Keys and certificates", Unit: number, Runbook: "SurgegateKeyMaintenanceFailing",
			About: "Failures of key maintenance and of reading certificates again."},
			query{increase("surgegate_key_maintenance_failures_total"), "keys"}, query{increase("surgegate_grpc_reload_failures_total"),
				"certificates"}),
	}}
}

func admissionRow() row {
	return row{Title: "Admission", Panels: []panel{
		inner(panel{Title: "Clients kept in mind", Unit: "short", Runbook: "SurgegateClientFlooding",
			About: "Buckets that are not full, by kind. Bounded; what does not fit is counted as overflow."},
			query{metric("surgegate_admission_keys"), "{{kind}}"}),
		inner(panel{Title: "Overflow, charges", Unit: perSecond, Runbook: "SurgegateClientFlooding",
			About: "Clients a second that found no bucket and shared one; charges of tokens after the fact."},
			query{rate("surgegate_admission_overflow_total"), "overflow: {{kind}}"}, query{rate("surgegate_admission_charges_total"),
				"charge {{result}}"}),
		inner(panel{Title: "Tokens, and limits", Unit: "short", Runbook: "SurgegateGlobalLimitHit",
			About: "Tokens left in the global bucket; limits in force, tokens a second."},
			query{metric("surgegate_admission_tokens"), "left"}, query{metric("surgegate_admission_limit"), "limit: {{rule}}"}),
		inner(panel{Title: "Would be refused", Unit: perSecond, Runbook: "SurgegateGlobalLimitHit",
			About: "In a dry run: calls a second that would have been refused."},
			query{rate("surgegate_admission_dry_run_total"), "{{reason}}"}),
		inner(panel{Title: "Decisions", Unit: perSecond, Runbook: "SurgegateGlobalLimitHit",
			About: "Calls a second."},
			query{rate("surgegate_admission_decisions_total"), "{{decision}}: {{reason}}"}),
		inner(panel{Title: "Brownout level", Unit: number, Runbook: "SurgegateBrownoutHigh",
			About: "0 normal to 4 closed."},
			query{metric("surgegate_brownout_level"), "level"}),
		inner(panel{Title: "What holds the level", Unit: number, Runbook: "SurgegateBrownoutHigh",
			About: "1 for the signal that the level is due to."},
			query{metric("surgegate_brownout_signal"), "{{signal}}"}),
		inner(panel{Title: "Signals", Unit: ratio, Runbook: "SurgegateBrownoutHigh",
			About: "Each as a share of its bound."},
			query{metric("surgegate_brownout_signal_ratio"), "{{signal}}"}),
	}}
}

func steeringRow() row {
	return row{Title: "By hand, recorded, traced", Panels: []panel{
		inner(panel{Title: "Overrides in force", Unit: number, Runbook: "SurgegateOverrideStanding",
			About: "By kind."},
			query{metric("surgegate_overrides"), "{{kind}}"}),
		inner(panel{Title: "What operators did", Unit: number, Runbook: "SurgegateOverrideStanding",
			About: "Actions, by kind; surgectl audit has who and why."},
			query{increase("surgegate_operator_actions_total"), "{{action}}"}),
		inner(panel{Title: "Reloads", Unit: number, Runbook: "SurgegateReloadRefused",
			About: "Of the configuration."},
			query{increase("surgegate_config_reloads_total"), "{{result}}"}),
		inner(panel{Title: "Recording and tracing", Unit: perSecond, Runbook: "SurgegateBrownoutHigh",
			About: "Calls a second that serve --record wrote, and what it and the tracer left out because they were behind."},
			query{orZero(sum(rate("surgegate_record_events_total"))), "recorded"},
			query{orZero(sum(rate("surgegate_record_dropped_total"))), "not recorded"},
			query{sum(rate("surgegate_trace_dropped_total")), "spans dropped"}),
	}}
}

func runtimeRow() row {
	return row{Title: "Go runtime and process", Panels: []panel{
		inner(panel{Title: "Processor", Unit: number, Runbook: "SurgegateHashPoolBusy",
			About: "Seconds of processor time a second, and how many processors Go may use."},
			query{rate("process_cpu_seconds_total"), "used"}, query{metric("go_sched_gomaxprocs_threads"), "allowed"}),
		inner(panel{Title: "Memory", Unit: size, Runbook: "SurgegateBrownoutHigh",
			About: "Resident, all that Go has from the system, live and dead objects, and the heap at which the next collection ends."},
			query{metric("process_resident_memory_bytes"), "resident"}, query{metric("go_memory_classes_total_bytes"), "Go"},
			query{metric("go_memory_classes_heap_objects_bytes"), "objects"}, query{metric("go_gc_heap_goal_bytes"), "goal"}),
		inner(panel{Title: "Allocated", Unit: byteRate, Runbook: "SurgegateBrownoutHigh",
			About: "Bytes a second."},
			query{rate("go_gc_heap_allocs_bytes_total"), "allocated"}),
		inner(panel{Title: "Collector's share", Unit: ratio, Runbook: "SurgegateBrownoutHigh",
			About: "Processor time of the garbage collector, of what the process used; it counts its idle time too."},
			query{share(rate("go_cpu_classes_gc_total_cpu_seconds_total"), rate("process_cpu_seconds_total")), "collector"}),
		inner(panel{Title: "Pauses of the garbage collector", Unit: seconds, Runbook: "SurgegateBrownoutHigh",
			About: "Median and longest of the last ones."},
			query{metric("go_gc_duration_seconds", `quantile=~"0\\.5|1(\\.0)?"`), "quantile {{quantile}}"}),
		inner(panel{Title: "Goroutines and threads", Unit: "short", Runbook: "SurgegateBrownoutHigh",
			About: "Now."},
			query{metric("go_goroutines"), "goroutines"}, query{metric("go_threads"), "threads"}),
		inner(panel{Title: "Open files", Unit: "short", Runbook: "SurgegateNotAccepting",
			About: "And how many the process may open."},
			query{metric("process_open_fds"), "open"}, query{metric("process_max_fds"), "allowed"}),
		inner(panel{Title: "Network", Unit: byteRate, Runbook: "SurgegateClientFlooding",
			About: "Bytes a second, of the whole network namespace."},
			query{rate("process_network_receive_bytes_total"), "in"}, query{rate("process_network_transmit_bytes_total"), "out"}),
		inner(panel{Title: "Operators' calls", Unit: perSecond, Runbook: "SurgegateOverrideStanding",
			About: "Answers a second of the operator listener, by code."},
			query{rate("surgegate_grpc_operator_calls_total"), "{{code}}"}),
		inner(panel{Title: "Up since", Unit: seconds, Runbook: "SurgegateDown",
			About: "Age of the process."},
			query{"time() - " + metric("process_start_time_seconds"), "age"}),
	}}
}

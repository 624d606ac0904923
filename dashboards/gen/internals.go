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
func inner(title, about, unit, runbook string, queries ...query) panel {
	return panel{Title: title, About: about, Unit: unit, Runbook: runbook, Width: 6, Height: 7, Queries: queries}
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
		inner("Calls, by method", "Calls a second that began.", perSecond, "SurgegateAcceptFastBurn",
			query{sum(rate("grpc_server_started_total", `grpc_service=~"surgegate.*"`), "grpc_method"), "{{grpc_method}}"}),
		inner("Verdicts", "Calls a second, by what the gate said.", perSecond, "SurgegateAcceptFastBurn",
			query{sum(rate("surgegate_gate_requests_total"), "verdict"), "{{verdict}}"}),
		logScale(inner("Time in the server, p99", "With the edge's own work; exemplars lead to traces.", seconds, "SurgegateAcceptFastBurn",
			query{quantile(0.99, "grpc_server_handling_seconds", []string{"grpc_method"}, `grpc_service="surgegate.reset.v1.PasswordReset"`), "{{grpc_method}}"})),
		inner("Messages", "Messages a second, received and sent; streams send many.", perSecond, "SurgegateAcceptFastBurn",
			query{sum(rate("grpc_server_msg_received_total")), "received"}, query{sum(rate("grpc_server_msg_sent_total")), "sent"}),
		inner("Connections", "Open connections, by listener, and those that were refused, a second.", "short", "SurgegateClientFlooding",
			query{metric("surgegate_grpc_connections"), "{{listener}}"}, query{rate("surgegate_grpc_refused_connections_total"), "refused: {{listener}}"}),
		inner("Tickets followed", "Tickets that somebody watches or waits for, and watch streams.", "short", "SurgegateBrownoutHigh",
			query{metric("surgegate_gate_tickets_watched"), "{{by}}"}, query{metric("surgegate_grpc_watches"), "streams"}),
		inner("Bad calls", "Messages that were not read, client addresses that were not believed, calls that panicked, a second.", perSecond, "SurgegatePanic",
			query{rate("surgegate_grpc_bad_messages_total"), "{{reason}}"}, query{rate("surgegate_grpc_ignored_clients_total"), "client ignored"},
			query{rate("surgegate_grpc_panics_total"), "panic"}),
		inner("Version", "1, with the version that runs.", number, "SurgegateDown", query{metric("surgegate_build_info"), "{{version}}, {{goversion}}"}),
	}}
}

func engineRow() row {
	return row{Title: "The queue's engine", Panels: []panel{
		inner("Jobs, by state", "All jobs that are held.", "short", "SurgegateParkedJobs", query{sum(metric("surgegate_queue_jobs"), "state"), "{{state}}"}),
		inner("In and out, by lane", "Jobs a second that came into a lane, and that left it.", perSecond, "SurgegateQueueFullSoon",
			query{rate("surgegate_queue_in_total"), "{{lane}} in"}, query{rate("surgegate_queue_out_total"), "{{lane}} out"}),
		inner("Enqueues, by verdict", "What the engine answered, a second.", perSecond, "SurgegateNotAccepting",
			query{rate("surgegate_queue_enqueues_total"), "{{verdict}}"}),
		inner("Requests in a commit", "Mean size of a group commit: it grows with the load, and that is how one disk serves many.", "short", "SurgegateNotAccepting",
			query{mean("surgegate_queue_commit_requests", nil), "requests"}),
		logScale(inner("Commit", "Time of a group commit.", seconds, "SurgegateNotAccepting",
			query{quantile(0.5, "surgegate_queue_commit_seconds", nil), "p50"}, query{quantile(0.99, "surgegate_queue_commit_seconds", nil), "p99"})),
		logScale(inner("fsync", "Time of the disk.", seconds, "SurgegateNotAccepting",
			query{quantile(0.5, "surgegate_queue_fsync_seconds", nil), "p50"}, query{quantile(0.99, "surgegate_queue_fsync_seconds", nil), "p99"})),
		inner("Bytes", "What the queue holds, against its bound, and the disk.", size, "SurgegateQueueFullSoon",
			query{metric("surgegate_queue_bytes"), "queue"}, query{metric("surgegate_queue_max_bytes"), "bound"},
			query{metric("surgegate_disk_available_bytes"), "disk free"}, query{metric("surgegate_disk_reserve_bytes"), "reserve"}),
		inner("Accepting, conserved", "Accepting is 1 or 0; miscounted jobs and fsync errors are 0.", number, "SurgegateConservationBroken",
			query{metric("surgegate_queue_accepting"), "accepting"}, query{metric("surgegate_queue_conservation"), "miscounted"},
			query{increase("surgegate_queue_fsync_errors_total"), "fsync errors"}),
		inner("Expired and parked, by lane", "Jobs a second.", perSecond, "SurgegateParkedJobs",
			query{rate("surgegate_jobs_expired_total"), "{{lane}} expired"}, query{rate("surgegate_jobs_parked_total"), "{{lane}} parked"}),
		inner("Put back in line, by lane", "Jobs a second that were tried and go on later. Kept: the downstream's fault, no try used.", perSecond, "SurgegateDownstreamFailing",
			query{rate("surgegate_jobs_retried_total"), "{{lane}}, try {{tries}}"}),
		logScale(inner("Age at the end, p99", "By lane, for all ends.", seconds, "SurgegateOldestPastPromise",
			query{quantile(0.99, "surgegate_ticket_age_seconds", []string{"lane"}), "{{lane}}"})),
		logScale(inner("ETA told, p50 and p99", "High end, at acceptance.", seconds, "SurgegateOldestPastPromise",
			query{quantile(0.5, "surgegate_gate_eta_seconds", []string{"line"}), "{{line}}, p50"},
			query{quantile(0.99, "surgegate_gate_eta_seconds", []string{"line"}), "{{line}}, p99"})),
	}}
}

func paceRow() row {
	each := []string{"downstream"}
	return row{Title: "Pacers and breakers", Panels: []panel{
		inner("Calls at once, and limit", "Now, and what the pace allows.", "short", "SurgegateDownstreamSlow",
			query{metric("surgegate_downstream_in_flight"), "{{downstream}}"}, query{metric("surgegate_downstream_concurrency_limit"), "{{downstream}}, limit"}),
		inner("Rate, and delivered", "Items a second.", perSecond, "SurgegateDownstreamSlow",
			query{metric("surgegate_downstream_rate_limit"), "{{downstream}}, pace"}, query{sum(rate("surgegate_downstream_items_total"), "downstream", "outcome") + " > 0 or " +
				sum(rate("surgegate_downstream_items_total", `outcome="ok"`), "downstream", "outcome"), "{{downstream}} {{outcome}}"}),
		logScale(inner("Time of a call", "p50 and p99.", seconds, "SurgegateDownstreamSlow",
			query{quantile(0.5, "surgegate_downstream_call_seconds", each), "{{downstream}}, p50"}, query{quantile(0.99, "surgegate_downstream_call_seconds", each), "{{downstream}}, p99"})),
		inner("Items in a call", "Mean batch.", "short", "SurgegateDownstreamSlow", query{mean("surgegate_downstream_batch_items", each), "{{downstream}}"}),
		inner("Calls, by outcome", "Calls a second.", perSecond, "SurgegateDownstreamFailing",
			query{rate("surgegate_downstream_calls_total"), "{{downstream}} {{outcome}}"}),
		inner("Breakers", "1 for the state that a breaker is in.", number, "SurgegateBreakerOpen", query{metric("surgegate_breaker_state", `state!="closed"`), "{{downstream}} {{state}}"}),
		inner("Breakers: changes", "How often a state was entered.", number, "SurgegateBreakerOpen",
			query{increase("surgegate_breaker_transitions_total"), "{{downstream}} {{state}}"}),
		inner("Ramp, store described", "Share let through while recovering; described: 1 if the store's last description was had and can be met.", ratio, "SurgegateBreakerOpen",
			query{metric("surgegate_downstream_ramp_ratio"), "{{downstream}}"}, query{metric("surgegate_store_described"), "described"}),
		inner("Cost, by lane", "Cost a second, in the fair shares' own unit.", perSecond, "SurgegateDownstreamSlow",
			query{rate("surgegate_downstream_cost_total"), "{{downstream}}, {{lane}}"}),
		inner("Lanes' weights", "The share of a downstream that a lane gets while others wait too; 0 while paused.", number, "SurgegateOverrideStanding",
			query{metric("surgegate_lane_weight") + " * on (job, instance, lane) (1 - " + metric("surgegate_lane_paused") + ")", "{{lane}}"}),
		inner("Mails", "Mails a second, by purpose and outcome.", perSecond, "SurgegateDownstreamFailing", query{rate("surgegate_mails_total"), "{{purpose}} {{outcome}}"}),
		inner("Who limits", "As on Storm, of all instances of the job: busy share of the pace.", ratio, "SurgegateDownstreamSlow",
			query{recorded("surgegate:downstream:busy_ratio"), "{{downstream}}"}),
	}}
}

func poolRow() row {
	return row{Title: "Hash pool and keys", Panels: []panel{
		inner("Slots", "Slots, those that hash now, and jobs that wait for one.", "short", "SurgegateHashPoolBusy",
			query{metric("surgegate_hashpool_slots"), "slots"}, query{metric("surgegate_hashpool_slots_in_use"), "in use"}, query{metric("surgegate_hashpool_waiting"), "waiting"}),
		inner("Memory", "In use, against the budget.", size, "SurgegateHashPoolBusy",
			query{metric("surgegate_hashpool_memory_in_use_bytes"), "in use"}, query{metric("surgegate_hashpool_memory_budget_bytes"), "budget"}),
		logScale(inner("Time of a hash, p50", "By algorithm and operation.", seconds, "SurgegateHashPoolBusy",
			query{quantile(0.5, "surgegate_hashpool_seconds", []string{"algorithm", "operation"}), "{{algorithm}} {{operation}}"})),
		inner("Keys and certificates", "Failures of key maintenance and of reading certificates again.", number, "SurgegateKeyMaintenanceFailing",
			query{increase("surgegate_key_maintenance_failures_total"), "keys"}, query{increase("surgegate_grpc_reload_failures_total"), "certificates"}),
	}}
}

func admissionRow() row {
	return row{Title: "Admission", Panels: []panel{
		inner("Clients kept in mind", "Buckets that are not full, by kind. Bounded; what does not fit is counted as overflow.", "short", "SurgegateClientFlooding",
			query{metric("surgegate_admission_keys"), "{{kind}}"}),
		inner("Overflow, charges", "Clients a second that found no bucket and shared one; charges of tokens after the fact.", perSecond, "SurgegateClientFlooding",
			query{rate("surgegate_admission_overflow_total"), "overflow: {{kind}}"}, query{rate("surgegate_admission_charges_total"), "charge {{result}}"}),
		inner("Tokens, and limits", "Tokens left in the global bucket; limits in force, tokens a second.", "short", "SurgegateGlobalLimitHit",
			query{metric("surgegate_admission_tokens"), "left"}, query{metric("surgegate_admission_limit"), "limit: {{rule}}"}),
		inner("Would be refused", "In a dry run: calls a second that would have been refused.", perSecond, "SurgegateGlobalLimitHit",
			query{rate("surgegate_admission_dry_run_total"), "{{reason}}"}),
		inner("Decisions", "Calls a second.", perSecond, "SurgegateGlobalLimitHit", query{rate("surgegate_admission_decisions_total"), "{{decision}}: {{reason}}"}),
		inner("Brownout level", "0 normal to 4 closed.", number, "SurgegateBrownoutHigh", query{metric("surgegate_brownout_level"), "level"}),
		inner("What holds the level", "1 for the signal that the level is due to.", number, "SurgegateBrownoutHigh", query{metric("surgegate_brownout_signal"), "{{signal}}"}),
		inner("Signals", "Each as a share of its bound.", ratio, "SurgegateBrownoutHigh", query{metric("surgegate_brownout_signal_ratio"), "{{signal}}"}),
	}}
}

func steeringRow() row {
	return row{Title: "By hand, recorded, traced", Panels: []panel{
		inner("Overrides in force", "By kind.", number, "SurgegateOverrideStanding", query{metric("surgegate_overrides"), "{{kind}}"}),
		inner("What operators did", "Actions, by kind; surgectl audit has who and why.", number, "SurgegateOverrideStanding",
			query{increase("surgegate_operator_actions_total"), "{{action}}"}),
		inner("Reloads", "Of the configuration.", number, "SurgegateReloadRefused", query{increase("surgegate_config_reloads_total"), "{{result}}"}),
		inner("Recording and tracing", "Calls a second that serve --record wrote, and what it and the tracer left out because they were behind.", perSecond, "SurgegateBrownoutHigh",
			query{otherwise(sum(rate("surgegate_record_events_total")), 0), "recorded"}, query{otherwise(sum(rate("surgegate_record_dropped_total")), 0), "not recorded"},
			query{otherwise(sum(rate("surgegate_trace_dropped_total")), 0), "spans dropped"}),
	}}
}

func runtimeRow() row {
	return row{Title: "Go runtime and process", Panels: []panel{
		inner("Processor", "Seconds of processor time a second, and how many processors Go may use.", number, "SurgegateHashPoolBusy",
			query{rate("process_cpu_seconds_total"), "used"}, query{metric("go_sched_gomaxprocs_threads"), "allowed"}),
		inner("Memory", "Resident, all that Go has from the system, live and dead objects, and the heap at which the next collection ends.", size, "SurgegateBrownoutHigh",
			query{metric("process_resident_memory_bytes"), "resident"}, query{metric("go_memory_classes_total_bytes"), "Go"},
			query{metric("go_memory_classes_heap_objects_bytes"), "objects"}, query{metric("go_gc_heap_goal_bytes"), "goal"}),
		inner("Allocated", "Bytes a second.", byteRate, "SurgegateBrownoutHigh", query{rate("go_gc_heap_allocs_bytes_total"), "allocated"}),
		inner("Collector's share", "Processor time of the garbage collector, of what the process used; it counts its idle time too.", ratio, "SurgegateBrownoutHigh",
			query{share(rate("go_cpu_classes_gc_total_cpu_seconds_total"), rate("process_cpu_seconds_total")), "collector"}),
		inner("Pauses of the garbage collector", "Median and longest of the last ones.", seconds, "SurgegateBrownoutHigh",
			query{metric("go_gc_duration_seconds", `quantile=~"0\\.5|1(\\.0)?"`), "quantile {{quantile}}"}),
		inner("Goroutines and threads", "Now.", "short", "SurgegateBrownoutHigh", query{metric("go_goroutines"), "goroutines"}, query{metric("go_threads"), "threads"}),
		inner("Open files", "And how many the process may open.", "short", "SurgegateNotAccepting",
			query{metric("process_open_fds"), "open"}, query{metric("process_max_fds"), "allowed"}),
		inner("Network", "Bytes a second, of the whole network namespace.", byteRate, "SurgegateClientFlooding",
			query{rate("process_network_receive_bytes_total"), "in"}, query{rate("process_network_transmit_bytes_total"), "out"}),
		inner("Operators' calls", "Answers a second of the operator listener, by code.", perSecond, "SurgegateOverrideStanding",
			query{rate("surgegate_grpc_operator_calls_total"), "{{code}}"}),
		inner("Up since", "Age of the process.", seconds, "SurgegateDown", query{"time() - " + metric("process_start_time_seconds"), "age"}),
	}}
}

package measure

// Sample is one moment of an arm; rates are means since the sample before, over 100 ms at least.
type Sample struct {
	Seconds      float64 `json:"s"`
	OfferedRate  float64 `json:"offered_rate"`  // calls sent a second, attackers' included
	FailedRate   float64 `json:"failed_rate"`   // people's calls that ended in an error a second
	AppliedRate  float64 `json:"applied_rate"`  // passwords that the store set a second
	AcceptedRate float64 `json:"accepted_rate"` // calls that worked a second, attackers' included
	RefusedRate  float64 `json:"refused_rate"`  // calls sent away with a time to come back, attackers' included
	OldestS      float64 `json:"oldest_s"`      // how long the person has been there who came first of those inside
	Came         int     `json:"came"`          // people so far
	Completed    int     `json:"completed"`     // who were told that they have their new password
	GaveUp       int     `json:"gave_up"`
	Backlog      int     `json:"backlog"`    // calls inside, links owed, tickets not final
	Inside       int64   `json:"inside"`     // items in the store
	StoreSeen    bool    `json:"store_seen"` // false: what is said of the store is not known
	Up           bool    `json:"up"`
	Cold         bool    `json:"cold"`
	Crashes      int     `json:"crashes"`
}

// Arm is the outcome of one arm; its JSON is the contract of result.json.
type Arm struct {
	Name         string `json:"name"`
	People       int    `json:"people"`        // who came
	Completed    int    `json:"completed"`     // told that the new password is in place
	FailedCalls  int    `json:"failed_calls"`  // people's calls that ended in an error
	StoreCrashes int    `json:"store_crashes"` //
	Accepted     int    `json:"accepted"`      // people of whom a request was accepted
	Lost         int    `json:"lost"`          // completions accepted whose password is not in the store
	AppliedTwice int    `json:"applied_twice"` // changes applied again
	WaitP50MS    int64  `json:"wait_p50_ms"`   // of those who completed
	WaitP99MS    int64  `json:"wait_p99_ms"`
	PeakBacklog  int    `json:"peak_backlog"`

	// Of everybody who came, those who never got there included as endless: -1 is never.
	EverybodyP50MS int64 `json:"everybody_wait_p50_ms"`
	EverybodyP99MS int64 `json:"everybody_wait_p99_ms"`

	// Audited tells whether the store was looked into after the run: else lost, applied_twice, untold and out_of_order are not known.
	Audited bool `json:"audited"`
	// StoreSeen tells whether the store's state was visible: else store_crashes and what samples say of it are not known.
	StoreSeen bool `json:"store_seen"`

	Promised      int      `json:"promised"`      // people of whom a completion was accepted
	GaveUp        int      `json:"gave_up"`       // people who stopped trying
	StillWaiting  int      `json:"still_waiting"` // people for whom the arm ended first
	Untold        int      `json:"untold"`        // passwords in the store whose owners were told of a failure, or of nothing
	OutOfOrder    int      `json:"out_of_order"`
	OfferedCalls  int      `json:"offered_calls"`
	PeopleCalls   int      `json:"people_calls"`
	Attackers     int      `json:"attackers"`
	AttackerFails int      `json:"attacker_failed_calls"`
	Seconds       float64  `json:"seconds"` // from the first arrival to the last person's end
	LagP99US      int64    `json:"generator_lag_p99_us"`
	Intended      int      `json:"intended"`          // first attempts of the schedule
	Dropped       int      `json:"dropped"`           // of them, by the generator: intended = sent + dropped
	Invalid       string   `json:"invalid,omitempty"` // why the run says nothing: the load generator was late
	Ops           []Op     `json:"ops"`
	Reasons       []Reason `json:"reasons"` // of calls that were not OK, most first
	Broken        []string `json:"broken"`  // promises that were not kept
	Samples       []Sample `json:"samples"`
}

// Op is what became of the calls of one kind, attackers' included.
type Op struct {
	Op      string    `json:"op"`
	Calls   int       `json:"calls"`
	Refused int       `json:"refused"` // RESOURCE_EXHAUSTED or UNAVAILABLE
	Failed  int       `json:"failed"`  // other errors
	Latency Quantiles `json:"latency_us"`
	Refusal Quantiles `json:"refusal_us"`
}

// Quantiles of latencies in µs, from the intended time.
type Quantiles struct {
	P50  int64 `json:"p50"`
	P90  int64 `json:"p90"`
	P99  int64 `json:"p99"`
	P999 int64 `json:"p999"`
	Max  int64 `json:"max"`
}

// Reason is why calls were not OK: ErrorInfo's reason, or the code where there was none.
type Reason struct {
	Reason string `json:"reason"`
	Calls  int    `json:"calls"`
}

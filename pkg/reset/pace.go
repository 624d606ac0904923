package reset

import (
	"encoding/json"
	"time"
)

// Pace is what the work side publishes of a lane about once a second, so that the request side, which may be another
// process, can tell positions and ETAs. It is stored as a record in the queue.
type Pace struct {
	Lane Lane `json:"lane"`
	// Rate is jobs ended a second, as last measured while the downstream worked; before any measurement the
	// configured floor.
	Rate float64 `json:"rate"`
	// Service is how long one job takes from lease to end, a high percentile.
	Service time.Duration `json:"service_ns"`
	// OutageSince is when the downstream stopped working; zero while it works.
	OutageSince time.Time `json:"outage_since,omitzero"`
	// PublishTime is when this was written.
	PublishTime time.Time `json:"publish_time"`
}

// Marshal encodes the pace as a record value.
func (p Pace) Marshal() []byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic("reset: a Pace is always JSON: " + err.Error())
	}
	return b
}

// Unmarshal decodes a record value.
func (p *Pace) Unmarshal(b []byte) error { return json.Unmarshal(b, p) }

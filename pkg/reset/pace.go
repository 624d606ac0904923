package reset

import (
	"encoding/json"
	"time"
)

// Pace says how fast a lane works. The work side publishes it about once a second as a record in the queue, and the request
// side, which may be another process, computes ETAs from it.
type Pace struct {
	Lane Lane `json:"lane"`
	// Rate is how many jobs end a second, as last measured while the downstream worked; before the first measurement it is
	// the configured floor.
	Rate float64 `json:"rate"`
	// Service is a high percentile of the time that a job takes from lease to end.
	Service time.Duration `json:"service_ns"`
	// OutageSince is when the downstream stopped working; zero while it works.
	OutageSince time.Time `json:"outage_since,omitzero"`
	// PublishTime is when this Pace was written.
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

package people

import (
	"fmt"
	"time"
)

// Config of behaviour. Zero fields mean the defaults; shares are between 0 and 1. The times that people take are ours:
// nobody has published any.
type Config struct {
	Seed       uint64
	Attempts   int           // of a client for one step; default 3
	Tries      int           // of a person for one step; default 5
	ComeBack   float64       // probability of each further try; default 0.8
	Impatient  float64       // share of clients that retry at once; default 0.3
	Resend     float64       // share of people who ask for another mail; default 0.3
	ResendAt   time.Duration // median of when, σ 0.5; default 20 s
	Read       time.Duration // median time from a mail's coming to the click, σ 0.6; default 3 s
	Type       time.Duration // median time to type a new password, σ 0.5; default 4 s
	Return     time.Duration // median time until a person tries again, σ 0.6; default 6 s
	Backoff    time.Duration // first backoff of a patient client, doubled each time, full jitter; default 1 s
	Deadline   time.Duration // of a call; default 15 s
	Wait       time.Duration // that CompleteReset asks to be held for; default 2 s
	SignOut    float64       // share of people who tick "sign out connected devices"; default 0.5
	BotFlagged float64       // share of attackers that the front end's own bot detection flags; default 0.5
}

// WithDefaults fills zero fields.
func (c Config) WithDefaults() Config {
	def(&c.Attempts, 3)
	def(&c.Tries, 5)
	def(&c.ComeBack, 0.8)
	def(&c.Impatient, 0.3)
	def(&c.Resend, 0.3)
	def(&c.ResendAt, 20*time.Second)
	def(&c.Read, 3*time.Second)
	def(&c.Type, 4*time.Second)
	def(&c.Return, 6*time.Second)
	def(&c.Backoff, time.Second)
	def(&c.Deadline, 15*time.Second)
	def(&c.Wait, 2*time.Second)
	def(&c.SignOut, 0.5)
	def(&c.BotFlagged, 0.5)
	return c
}

// Validate names the field that makes no sense.
func (c Config) Validate() error {
	if c.Attempts < 1 || c.Tries < 1 {
		return fmt.Errorf("people: Attempts is %d and Tries %d; both must be at least 1", c.Attempts, c.Tries)
	}
	for _, share := range []struct {
		name  string
		value float64
	}{{"ComeBack", c.ComeBack}, {"Impatient", c.Impatient}, {"Resend", c.Resend}, {"SignOut", c.SignOut}, {"BotFlagged", c.BotFlagged}} {
		if share.value < 0 || share.value > 1 {
			return fmt.Errorf("people: %s is %v; it must be between 0 and 1", share.name, share.value)
		}
	}
	for _, field := range []struct {
		name  string
		value time.Duration
	}{{"Read", c.Read}, {"Type", c.Type}, {"Return", c.Return}, {"Backoff", c.Backoff}, {"Deadline", c.Deadline}, {"ResendAt", c.ResendAt}} {
		if field.value <= 0 {
			return fmt.Errorf("people: %s is %v; it must be above 0", field.name, field.value)
		}
	}
	return nil
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

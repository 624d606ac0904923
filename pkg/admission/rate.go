package admission

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Rate is a count per unit of time. Its text is "20/m": a whole number from 1 to 1e9, a slash, and s, m, h or d.
// The zero Rate means the default of the field that holds it; its text is empty.
type Rate struct {
	Count int
	Per   time.Duration // a second, a minute, an hour or a day
}

const maxRateCount = 1_000_000_000

const day = 24 * time.Hour

// ParseRate reads a rate's text. The empty text is an error: leave the field out for the default.
func ParseRate(text string) (Rate, error) {
	count, unit, ok := strings.Cut(text, "/")
	if !ok {
		return Rate{}, fmt.Errorf("rate %.40q has no slash: write it like 20/m", text)
	}
	r := Rate{Per: perOf(unit)}
	if r.Per == 0 {
		return Rate{}, fmt.Errorf("rate %.40q: the unit after the slash is not one of s, m, h, d", text)
	}
	// Only what MarshalText would write, so that one rate has one text: no sign, no leading zero.
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 || n > maxRateCount || strconv.Itoa(n) != count {
		return Rate{}, fmt.Errorf("rate %.40q: the count before the slash is not a whole number from 1 to %d", text, maxRateCount)
	}
	r.Count = n
	return r, nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Rate) UnmarshalText(text []byte) error {
	parsed, err := ParseRate(string(text))
	if err != nil {
		return err
	}
	*r = parsed
	return nil
}

// MarshalText implements encoding.TextMarshaler. A rate that ParseRate could not have made is an error.
func (r Rate) MarshalText() ([]byte, error) {
	if r == (Rate{}) {
		return nil, nil
	}
	if err := r.validate(); err != nil {
		return nil, err
	}
	return []byte(r.String()), nil
}

// String returns the rate's text.
func (r Rate) String() string {
	switch {
	case r == (Rate{}):
		return ""
	case unitOf(r.Per) == "":
		return fmt.Sprintf("%d/%v", r.Count, r.Per)
	default:
		return strconv.Itoa(r.Count) + "/" + unitOf(r.Per)
	}
}

// PerSecond returns the count per second.
func (r Rate) PerSecond() float64 {
	if r.Per <= 0 {
		return 0
	}
	return float64(r.Count) / r.Per.Seconds()
}

func (r Rate) validate() error {
	if r.Count < 1 || r.Count > maxRateCount {
		return fmt.Errorf("count %d is not within 1 and %d", r.Count, maxRateCount)
	}
	if unitOf(r.Per) == "" {
		return fmt.Errorf("%v is not a second, a minute, an hour or a day", r.Per)
	}
	return nil
}

func perOf(unit string) time.Duration {
	switch unit {
	case "s":
		return time.Second
	case "m":
		return time.Minute
	case "h":
		return time.Hour
	case "d":
		return day
	default:
		return 0
	}
}

func unitOf(per time.Duration) string {
	switch per {
	case time.Second:
		return "s"
	case time.Minute:
		return "m"
	case time.Hour:
		return "h"
	case day:
		return "d"
	default:
		return ""
	}
}

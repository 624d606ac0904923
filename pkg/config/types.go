package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Duration is a time span that must be written with its unit.
type Duration time.Duration

// Std returns the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// UnmarshalText reads 250ms, 30s, 5m, 12h.
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	v, err := time.ParseDuration(s)
	if err != nil || v != 0 && strings.Trim(s, "-0123456789.") == "" {
		return fmt.Errorf("%q is not a time span: write a number with ms, s, m or h, such as 30s", s)
	}
	if v < 0 {
		return fmt.Errorf("%q is negative", s)
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes the shortest exact form.
func (d Duration) MarshalText() ([]byte, error) {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return []byte(s), nil
}

// Bytes is a size that must be written with its unit.
type Bytes int64

type sizeUnit struct {
	name string
	size float64
}

// Longest names first: "20GiB" ends in "B" too.
func sizeUnits() []sizeUnit {
	return []sizeUnit{
		{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
		{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1},
	}
}

var errSize = errors.New("write a number with KiB, MiB, GiB or TiB, such as 20GiB")

// UnmarshalText reads 512MiB, 20GiB, 1.5TB, 0B.
func (b *Bytes) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	for _, u := range sizeUnits() {
		number, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || !(v >= 0 && v*u.size < 1<<62) {
			return fmt.Errorf("%q is not a size: %w", s, errSize)
		}
		*b = Bytes(v * u.size)
		return nil
	}
	return fmt.Errorf("%q is not a size: %w", s, errSize)
}

// MarshalText writes the largest binary unit that divides the size.
func (b Bytes) MarshalText() ([]byte, error) {
	for _, u := range sizeUnits() {
		if strings.HasSuffix(u.name, "iB") && b != 0 && int64(b)%int64(u.size) == 0 {
			return fmt.Appendf(nil, "%d%s", int64(b)/int64(u.size), u.name), nil
		}
	}
	return fmt.Appendf(nil, "%dB", int64(b)), nil
}

// Package humanize writes numbers with two or three digits and a unit (1.2 k/s, 3m20s), for people who read them in a hurry.
// Programs take the exact numbers from the operator API.
package humanize

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Count is a number of things: 999, 1.2 k, 15 M.
func Count(n uint64) string {
	if n < 1000 {
		return strconv.FormatUint(n, 10)
	}
	return scaled(float64(n), 1000, []string{" k", " M", " G", " T", " P", " E"})
}

// Bytes is a size: 512 B, 1.2 GiB.
func Bytes(n uint64) string {
	if n < 1024 {
		return strconv.FormatUint(n, 10) + " B"
	}
	return scaled(float64(n), 1024, []string{" KiB", " MiB", " GiB", " TiB", " PiB", " EiB"})
}

// Rate is a number a second: 0/s, 0.2/s, 4.2/s, 42/s, 1.2 k/s.
func Rate(perSecond float64) string { return Number(perSecond) + "/s" }

// Number is Rate without its unit, for a column that has it in its head.
func Number(n float64) string {
	switch {
	case n < 0.05 || math.IsNaN(n): // less than one in 20 s: nothing that is worth a digit
		return "0"
	case n < 9.95:
		return trimmed(n)
	case n < 999.5:
		return strconv.FormatFloat(n, 'f', 0, 64)
	default:
		return scaled(n, 1000, []string{" k", " M", " G", " T"})
	}
}

// Share is a share of 1: 0 %, 0.4 %, 42 %.
func Share(share float64) string {
	percent := 100 * share
	switch {
	case percent <= 0 || math.IsNaN(percent):
		return "0 %"
	case percent < 0.1:
		return "<0.1 %"
	case percent < 9.95:
		return trimmed(percent) + " %"
	default:
		return strconv.FormatFloat(percent, 'f', 0, 64) + " %"
	}
}

// Duration is a time: 480ms, 4.2s, 42s, 3m20s, 2h05m, 3d4h.
func Duration(d time.Duration) string {
	switch {
	case d <= 0:
		return "0s"
	case d < time.Millisecond:
		return "<1ms"
	case d < 995*time.Millisecond:
		return strconv.FormatInt(d.Round(time.Millisecond).Milliseconds(), 10) + "ms"
	case d < 9950*time.Millisecond:
		return trimmed(d.Seconds()) + "s"
	}
	d = d.Round(time.Second)
	minutes, seconds := int(d/time.Minute), int(d%time.Minute/time.Second)
	switch {
	case minutes == 0:
		return fmt.Sprintf("%ds", seconds)
	case minutes < 60 && seconds == 0:
		return fmt.Sprintf("%dm", minutes)
	case minutes < 60:
		return fmt.Sprintf("%dm%02ds", minutes, seconds)
	}
	minutes = int(d.Round(time.Minute) / time.Minute)
	hours, minutes := minutes/60, minutes%60
	switch {
	case hours < 24 && minutes == 0:
		return fmt.Sprintf("%dh", hours)
	case hours < 24:
		return fmt.Sprintf("%dh%02dm", hours, minutes)
	}
	hours = int(d.Round(time.Hour) / time.Hour)
	if hours%24 == 0 {
		return fmt.Sprintf("%dd", hours/24)
	}
	return fmt.Sprintf("%dd%dh", hours/24, hours%24)
}

func scaled(n, base float64, units []string) string {
	n /= base
	i := 0
	for n >= base-.5 && i < len(units)-1 {
		n, i = n/base, i+1
	}
	if n < 9.95 {
		return strconv.FormatFloat(n, 'f', 1, 64) + units[i]
	}
	return strconv.FormatFloat(n, 'f', 0, 64) + units[i]
}

// trimmed has one digit behind the point, if that is not 0.
func trimmed(n float64) string { return strconv.FormatFloat(math.Round(10*n)/10, 'f', -1, 64) }

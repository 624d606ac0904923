package humanize_test

import (
	"math"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/humanize"
)

func TestNumbersAreShort(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ got, want string }{
		{humanize.Count(0), "0"}, {humanize.Count(999), "999"}, {humanize.Count(1000), "1.0 k"}, {humanize.Count(1234), "1.2 k"},
		{humanize.Count(12_345), "12 k"}, {humanize.Count(999_400), "999 k"}, {humanize.Count(999_600), "1.0 M"},
		{humanize.Count(15_000_000), "15 M"}, {humanize.Count(math.MaxUint64), "18 E"},
		{humanize.Bytes(512), "512 B"}, {humanize.Bytes(2 << 30), "2.0 GiB"}, {humanize.Bytes(1023 << 20), "1023 MiB"},
		{humanize.Bytes(math.MaxUint64), "16 EiB"},
		{humanize.Rate(0), "0/s"}, {humanize.Rate(.04), "0/s"}, {humanize.Rate(.2), "0.2/s"}, {humanize.Rate(4.26), "4.3/s"},
		{humanize.Rate(5), "5/s"}, {humanize.Rate(9.96), "10/s"}, {humanize.Rate(420), "420/s"}, {humanize.Rate(999.7), "1.0 k/s"},
		{humanize.Rate(1234), "1.2 k/s"}, {humanize.Rate(math.NaN()), "0/s"},
		{humanize.Share(0), "0 %"}, {humanize.Share(.0004), "<0.1 %"}, {humanize.Share(.004), "0.4 %"}, {humanize.Share(.42), "42 %"},
		{humanize.Share(1), "100 %"}, {humanize.Share(math.NaN()), "0 %"},
		{humanize.Duration(-time.Second), "0s"}, {humanize.Duration(1), "<1ms"}, {humanize.Duration(480 * time.Millisecond), "480ms"},
		{humanize.Duration(999 * time.Millisecond), "1s"}, {humanize.Duration(4200 * time.Millisecond), "4.2s"},
		{humanize.Duration(42 * time.Second), "42s"}, {humanize.Duration(59_700 * time.Millisecond), "1m"},
		{humanize.Duration(200 * time.Second), "3m20s"}, {humanize.Duration(time.Hour), "1h"},
		{humanize.Duration(59*time.Minute + 59*time.Second + 900*time.Millisecond), "1h"},
		{humanize.Duration(125 * time.Minute), "2h05m"}, {humanize.Duration(23*time.Hour + 59*time.Minute + 40*time.Second), "1d"},
		{humanize.Duration(76 * time.Hour), "3d4h"}, {humanize.Duration(48 * time.Hour), "2d"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

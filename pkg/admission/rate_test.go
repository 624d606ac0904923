package admission_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/admission"
)

func ExampleParseRate() {
	r, err := admission.ParseRate("90/m")
	fmt.Println(r, r.PerSecond(), err)
	_, err = admission.ParseRate("90 per minute")
	fmt.Println(err)
	// Output:
	// 90/m 1.5 <nil>
	// rate "90 per minute" has no slash: write it like 20/m
}

func TestParseRate(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]admission.Rate{
		"20/m":         {Count: 20, Per: time.Minute},
		"5/h":          {Count: 5, Per: time.Hour},
		"20000/s":      {Count: 20000, Per: time.Second},
		"3/d":          {Count: 3, Per: 24 * time.Hour},
		"1000000000/s": {Count: 1_000_000_000, Per: time.Second},
	} {
		var got admission.Rate
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q is %+v, %v", text, got, err)
		}
		if back, err := got.MarshalText(); err != nil || string(back) != text {
			t.Errorf("%q is written as %q, %v", text, back, err)
		}
	}
	for text, why := range map[string]string{
		"":                          "slash",
		"20":                        "slash",
		"/m":                        "count",
		"20/":                       "unit",
		"20/w":                      "unit",
		"20/m/s":                    "unit",
		"20/ms":                     "unit",
		"0/m":                       "count",
		"-1/m":                      "count",
		"+1/m":                      "count",
		"01/m":                      "count",
		"1.5/m":                     "count",
		"1e3/m":                     "count",
		"1_000/m":                   "count",
		" 1/m":                      "count",
		"1000000001/s":              "count",
		"99999999999999999999999/s": "count",
	} {
		got := admission.Rate{Count: 7, Per: time.Second}
		err := got.UnmarshalText([]byte(text))
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: error %v does not speak of the %s", text, err, why)
		}
		if got != (admission.Rate{Count: 7, Per: time.Second}) {
			t.Errorf("%q: a failed read changed the rate to %v", text, got)
		}
	}
	if err := new(admission.Rate).UnmarshalText([]byte(strings.Repeat("9", 1<<16))); len(err.Error()) > 200 {
		t.Errorf("a long text makes an error of %d bytes", len(err.Error()))
	}
}

func TestMarshalRate(t *testing.T) {
	t.Parallel()
	if text, err := json.Marshal(struct{ R admission.Rate }{}); err != nil || string(text) != `{"R":""}` {
		t.Errorf("zero rate: %s, %v", text, err)
	}
	for _, odd := range []admission.Rate{
		{Count: 1, Per: 90 * time.Second}, {Count: 0, Per: time.Second}, {Count: -1, Per: time.Second}, {Count: 1},
	} {
		if text, err := odd.MarshalText(); err == nil {
			t.Errorf("%+v is written as %q, which cannot be read", odd, text)
		}
	}
}

func FuzzParseRate(f *testing.F) {
	for _, text := range []string{"20/m", "5/h", "20000/s", "3/d", "", "/", "0/s", "+1/s", "1/0", "٣/m"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := admission.ParseRate(text)
		if err != nil {
			if r != (admission.Rate{}) {
				t.Fatalf("%q: an error and %v", text, r)
			}
			return
		}
		if r.PerSecond() <= 0 || r.PerSecond() > 1e9 {
			t.Fatalf("%q: %v per second", text, r.PerSecond())
		}
		if back, err := r.MarshalText(); err != nil || string(back) != text {
			t.Fatalf("%q is written as %q, %v", text, back, err)
		}
	})
}

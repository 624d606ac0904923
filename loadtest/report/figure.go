package report

import "slices"

// Figure is one result of a benchmark, a row of summary.json.
type Figure struct {
	Name      string  `json:"name"`
	Value     float64 `json:"value"`
	Unit      string  `json:"unit"`
	Reference float64 `json:"reference,omitempty"` // in the same unit
	Ratio     float64 `json:"ratio,omitempty"`     // value ÷ reference
	Goal      string  `json:"goal"`
	OK        bool    `json:"ok"`
}

// Median returns the middle of the values, or the mean of the two in the middle; 0 without any.
func Median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	if len(s) == 0 {
		return 0
	}
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

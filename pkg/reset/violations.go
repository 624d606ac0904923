package reset

import "strings"

// Violation is a bad field. Its Detail says what to write instead and does not repeat the submitted value.
type Violation struct{ Field, Detail string }

// Violations are the bad fields of a request.
type Violations []Violation

// Add appends a violation.
func (v *Violations) Add(field, detail string) { *v = append(*v, Violation{field, detail}) }

// Err returns v as an error, or nil if there are no violations.
func (v Violations) Err() error {
	if len(v) == 0 {
		return nil
	}
	return v
}

// Error implements error.
func (v Violations) Error() string {
	s := make([]string, len(v))
	for i, x := range v {
		s[i] = x.Field + ": " + x.Detail
	}
	return strings.Join(s, "; ")
}

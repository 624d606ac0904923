package reset

import "strings"

// Violation is one bad field. Its Detail says what to write instead, and never repeats what was submitted.
type Violation struct{ Field, Detail string }

// Violations are all bad fields of one request.
type Violations []Violation

// Add adds one.
func (v *Violations) Add(field, detail string) { *v = append(*v, Violation{field, detail}) }

// Err returns them as an error, nil where there are none.
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

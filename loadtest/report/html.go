package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
)

//go:embed page.html
var page string

// HTML is the whole page.
func HTML(r Result) ([]byte, error) {
	t, err := template.New("report").Funcs(template.FuncMap{"count": Count}).Parse(page)
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, r); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	return b.Bytes(), nil
}

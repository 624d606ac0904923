package observe

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/goccy/go-yaml"
)

// ruleFile is a file of rules as it is written. What is not asked about is kept as it is.
type ruleFile struct {
	Groups []map[string]any `yaml:"groups"`
}

// Rules finds the rule files of a folder (others there are Prometheus's configuration and promtool's tests), writes
// them to another, without the groups' intervals where they are to hurry, and returns these copies and the rules' expressions.
func Rules(dir, into string, hurry bool) (copies []string, queries []Query, err error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.y*ml"))
	if err != nil {
		return nil, nil, fmt.Errorf("observe: %w", err)
	}
	if err := os.MkdirAll(into, 0o700); err != nil {
		return nil, nil, fmt.Errorf("observe: %w", err)
	}
	for _, path := range paths {
		text, found, err := readRuleFile(path, hurry)
		if err != nil {
			return nil, nil, err
		}
		if len(found) == 0 {
			continue
		}
		to := filepath.Join(into, filepath.Base(path))
		if err := os.WriteFile(to, text, 0o600); err != nil {
			return nil, nil, fmt.Errorf("observe: %w", err)
		}
		copies, queries = append(copies, to), append(queries, found...)
	}
	if len(queries) == 0 {
		return nil, nil, fmt.Errorf("%w in rules of %s", ErrNone, dir)
	}
	return copies, queries, nil
}

func readRuleFile(path string, hurry bool) (text []byte, queries []Query, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("observe: %w", err)
	}
	var file ruleFile
	if err := yaml.Unmarshal(data, &file); err != nil {
		return nil, nil, fmt.Errorf("observe: %s: %w", path, err)
	}
	for _, group := range file.Groups {
		if hurry {
			delete(group, "interval")
		}
		rules, _ := group["rules"].([]any)
		for _, rule := range rules {
			fields, _ := rule.(map[string]any)
			said := func(key string) string { s, _ := fields[key].(string); return s }
			expr, alert := said("expr"), said("alert")
			if expr == "" {
				return nil, nil, fmt.Errorf("observe: %s: group %v has a rule without expr", path, group["name"])
			}
			name := alert + said("record")
			queries = append(queries, Query{
				Where: fmt.Sprintf("%s: %v, %s", filepath.Base(path), group["name"], name), Expr: expr, Alert: alert != "", Name: name,
			})
		}
	}
	text, err = yaml.Marshal(file)
	if err != nil {
		return nil, nil, fmt.Errorf("observe: %s: %w", path, err)
	}
	return text, queries, nil
}

package observe

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Query is one expression that somebody reads.
type Query struct {
	Where string // file, then panel and target, or group and rule
	Expr  string // for Prometheus: variables replaced
	Alert bool   // an alert's: empty while it does not fire
	Name  string // of the rule
}

// View is what a dashboard's variables stand for.
type View struct {
	Job, Instance string
	Interval      time.Duration // of scrapes
	Span          time.Duration // of the dashboard: $__range
}

type board struct {
	Title       string  `json:"title"`
	Panels      []panel `json:"panels"`
	Annotations struct {
		List []annotation `json:"list"`
	} `json:"annotations"`
	Templating struct {
		List []variable `json:"list"`
	} `json:"templating"`
}

type panel struct {
	Type    string   `json:"type"`
	Title   string   `json:"title"`
	Panels  []panel  `json:"panels"` // of a row that is collapsed
	Targets []target `json:"targets"`
}

type target struct {
	RefID string `json:"refId"`
	Expr  string `json:"expr"`
}

// annotation has its expression in one of two places, or in both: Grafana has moved it.
type annotation struct {
	Name   string `json:"name"`
	Expr   string `json:"expr"`
	Target target `json:"target"`
}

type variable struct {
	Name  string          `json:"name"`
	Type  string          `json:"type"`
	Query json.RawMessage `json:"query"` // text, or an object for variables that are asked of a datasource
}

// ErrNone says that a folder has no queries.
var ErrNone = errors.New("observe: no queries")

// rateInterval is what Grafana makes of $__rate_interval.
func (v View) rateInterval() time.Duration { return 4 * v.Interval }

// Boards finds all targets and annotations of the dashboards in a folder: classic Grafana JSON. Template variables become what they match:
// job and instance the real ones, constants and text boxes their own value, an interval its first value, all others .+.
// $__rate_interval is four scrapes, as Grafana makes it. A folder without a query, a file that cannot be read and an unknown variable
// are errors.
func Boards(dir string, v View) ([]Query, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, fmt.Errorf("observe: %w", err)
	}
	var all []Query
	for _, path := range paths {
		queries, err := readBoard(path, v)
		if err != nil {
			return nil, err
		}
		all = append(all, queries...)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w in dashboards of %s", ErrNone, dir)
	}
	return all, nil
}

func readBoard(path string, v View) ([]Query, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("observe: %w", err)
	}
	var b board
	if err := json.Unmarshal(data, &b); err != nil {
		return nil, fmt.Errorf("observe: %s: %w", path, err)
	}
	name := filepath.Base(path)
	queries := b.walk(name, b.Panels)
	for _, a := range b.Annotations.List {
		if expr := cmp.Or(a.Target.Expr, a.Expr); expr != "" {
			queries = append(queries, Query{Where: name + ": annotation " + a.Name, Expr: expr})
		}
	}
	values := v.values(b.Templating.List)
	for i, q := range queries {
		if queries[i].Expr, err = expand(q.Expr, values); err != nil {
			return nil, fmt.Errorf("observe: %s: %w", q.Where, err)
		}
	}
	return queries, nil
}

func (b board) walk(name string, panels []panel) (queries []Query) {
	for _, p := range panels {
		for _, t := range p.Targets {
			if t.Expr != "" {
				queries = append(queries, Query{Where: fmt.Sprintf("%s: %s, %s", name, p.Title, t.RefID), Expr: t.Expr})
			}
		}
		queries = append(queries, b.walk(name, p.Panels)...)
	}
	return queries
}

// values of all variables, Grafana's own included.
func (v View) values(own []variable) map[string]string {
	seconds := func(d time.Duration) string { return strconv.Itoa(int(d.Seconds())) }
	values := map[string]string{
		"__interval": Duration(v.Interval), "__interval_ms": strconv.FormatInt(v.Interval.Milliseconds(), 10),
		"__rate_interval": Duration(v.rateInterval()), "__rate_interval_ms": strconv.FormatInt(v.rateInterval().Milliseconds(), 10),
		"__range": Duration(v.Span), "__range_s": seconds(v.Span), "__range_ms": strconv.FormatInt(v.Span.Milliseconds(), 10),
	}
	for _, o := range own {
		values[o.Name] = ".+"
		var text string
		if json.Unmarshal(o.Query, &text) != nil {
			continue // asked of a datasource
		}
		switch o.Type {
		case "constant", "textbox":
			values[o.Name] = text
		case "interval": // the first of a list
			values[o.Name], _, _ = strings.Cut(text, ",")
		}
	}
	values["job"], values["instance"] = v.Job, v.Instance
	return values
}

// Duration formats d as Prometheus reads it, in whole seconds.
func Duration(d time.Duration) string { return strconv.Itoa(int(d.Seconds())) + "s" }

// expand replaces $name, ${name}, ${name:format} and [[name]].
func expand(expr string, values map[string]string) (string, error) {
	pattern := regexp.MustCompile(`\$(\w+)|\$\{(\w+)(?::\w+)?\}|\[\[(\w+)(?::\w+)?\]\]`)
	var unknown []string
	text := pattern.ReplaceAllStringFunc(expr, func(match string) string {
		groups := pattern.FindStringSubmatch(match)
		name := groups[1] + groups[2] + groups[3]
		value, ok := values[name]
		if !ok {
			unknown = append(unknown, name)
		}
		return value
	})
	if unknown != nil {
		return "", fmt.Errorf("observe: the dashboard has no variable %s", strings.Join(unknown, ", "))
	}
	return text, nil
}

package audit

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// growth are the functions that take a counter.
func growth() []string { return []string{"rate", "increase", "changes", "irate"} }

// neverZero are bounds by which may be divided: the program exports none of them as 0.
func neverZero() []string {
	return []string{"surgegate_queue_max_bytes", "surgegate_hashpool_slots", "go_sched_gomaxprocs_threads", "process_max_fds"}
}

// query finds what is wrong with an expression and its legend.
func (w World) query(expr, legend string) (found []string) {
	say := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	if fixed := regexp.MustCompile(`\[\d+[smhd]\]`).FindString(expr); fixed != "" {
		say("looks back over a fixed %s", fixed)
	}
	plain := strings.NewReplacer("$__rate_interval", "1m", "$job", "variable", "$instance", "variable").Replace(expr)
	tree, err := parser.NewParser(parser.Options{}).ParseExpr(plain)
	if err != nil {
		return []string{"does not parse: " + err.Error()}
	}
	known := map[string]bool{"job": true, "instance": true}
	parser.Inspect(tree, func(node parser.Node, path []parser.Node) error {
		switch node := node.(type) {
		case *parser.VectorSelector:
			w.selector(node, path, known, say)
		case *parser.Call:
			if node.Func.Name == "label_replace" {
				known[node.Args[1].(*parser.StringLiteral).Val] = true
			}
		case *parser.BinaryExpr:
			if node.Op == parser.DIV && !guarded(node.RHS) {
				say("divides by %s, which may be 0", node.RHS)
			}
		}
		return nil
	})
	parser.Inspect(tree, func(node parser.Node, _ []parser.Node) error {
		if a, ok := node.(*parser.AggregateExpr); ok {
			for _, label := range a.Grouping {
				if !known[label] {
					say("groups by %s, which nothing in it has", label)
				}
			}
		}
		return nil
	})
	for _, m := range regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`).FindAllStringSubmatch(legend, -1) {
		if out, all := outputs(tree); !known[m[1]] || !all && !slices.Contains(out, m[1]) {
			say("its legend names %s, which its result has not", m[1])
		}
	}
	return found
}

func (w World) selector(s *parser.VectorSelector, path []parser.Node, known map[string]bool, say func(string, ...any)) {
	matched := map[string]bool{}
	for _, m := range s.LabelMatchers {
		matched[m.Name] = true
	}
	if strings.Contains(s.Name, ":") {
		if !w.Recorded[s.Name] {
			say("asks for %s, which no rule records", s.Name)
		}
		for _, label := range []string{"part", "downstream"} { // the rules' own
			known[label] = true
		}
		if !matched["job"] {
			say("%s is not limited to the chosen job", s.Name)
		}
		return
	}
	m, ok := w.Metrics[s.Name]
	if !ok {
		say("asks for %s, which does not exist", s.Name)
		return
	}
	for label := range m.Labels {
		known[label] = true
	}
	for _, matcher := range s.LabelMatchers {
		if slices.Contains([]string{"__name__", "job", "instance"}, matcher.Name) {
			continue
		}
		if _, ok := m.Labels[matcher.Name]; !ok {
			say("%s has no label %s", s.Name, matcher.Name)
		} else if !m.has(matcher.Name, matcher.Matches) {
			say("%s never has %s", s.Name, matcher)
		} else if missing := absent(m, matcher); missing != "" {
			say("%s never has %s=%q", s.Name, matcher.Name, missing)
		}
	}
	if s.Name != "ALERTS" && (!matched["job"] || !matched["instance"]) {
		say("%s is not limited to the chosen job and instance", s.Name)
	}
	if grown := inside(path, growth()); m.Grows && !grown {
		say("%s grows: it is read through rate or increase", s.Name)
	} else if !m.Grows && inside(path, []string{"rate", "increase", "irate"}) {
		say("%s goes up and down: it has no rate", s.Name)
	}
}

// absent is an alternative of a simple pattern, such as "a|b", that no series has: a name that was once right.
func absent(m Metric, matcher *labels.Matcher) string {
	if matcher.Type != labels.MatchRegexp || m.Labels[matcher.Name] == nil || !regexp.MustCompile(`^[\w|]+$`).MatchString(matcher.Value) {
		return ""
	}
	for alternative := range strings.SplitSeq(matcher.Value, "|") {
		if !m.Labels[matcher.Name][alternative] {
			return alternative
		}
	}
	return ""
}

func inside(path []parser.Node, functions []string) bool {
	return slices.ContainsFunc(path, func(n parser.Node) bool {
		c, ok := n.(*parser.Call)
		return ok && slices.Contains(functions, c.Func.Name)
	})
}

// guarded: cannot be 0.
func guarded(e parser.Expr) bool {
	switch e := e.(type) {
	case *parser.ParenExpr:
		return guarded(e.Expr)
	case *parser.NumberLiteral:
		return e.Val != 0
	case *parser.BinaryExpr:
		zero, ok := e.RHS.(*parser.NumberLiteral)
		return e.Op == parser.GTR && ok && zero.Val >= 0
	case *parser.Call:
		if e.Func.Name == "last_over_time" {
			return guarded(e.Args[0].(*parser.MatrixSelector).VectorSelector)
		}
		if e.Func.Name != "clamp_min" {
			return false
		}
		least, ok := e.Args[1].(*parser.NumberLiteral)
		return ok && least.Val > 0
	case *parser.VectorSelector:
		return slices.Contains(neverZero(), e.Name)
	default:
		return false
	}
}

// outputs are the labels of a result; all: those of the metric, whatever they are.
func outputs(e parser.Expr) (names []string, all bool) {
	switch e := e.(type) {
	case *parser.ParenExpr:
		return outputs(e.Expr)
	case *parser.AggregateExpr:
		return e.Grouping, e.Without
	case *parser.BinaryExpr:
		return outputs(e.LHS)
	case *parser.Call:
		for _, arg := range e.Args {
			if arg.Type() == parser.ValueTypeVector {
				return outputs(arg)
			}
		}
		return nil, true
	default:
		return nil, true
	}
}

package measure

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Threshold is one bound on a figure of a run, so that a rehearsal can fail a build. A figure that the run could not see (nobody
// completed, so nobody waited) breaks its threshold. "never" is above every bound.
type Threshold struct {
	Figure string
	op     string
	value  float64 // in the figure's unit: a count, a share, or seconds
	text   string
}

// Verdict is a Threshold applied to a run.
type Verdict struct {
	Name  string `json:"name"`
	Bound string `json:"bound"`
	Value string `json:"value"`
	OK    bool   `json:"ok"`
}

// LoadThresholds reads a file of thresholds: strict YAML, a line for each figure, such as `completed_share: ">= 99 %"`. Errors name file
// and line.
func LoadThresholds(path string) ([]Threshold, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("threshold: %w", err)
	}
	return parse(path, data)
}

func parse(path string, data []byte) ([]Threshold, error) {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		var located yaml.Error
		if errors.As(err, &located) {
			return nil, fmt.Errorf("%s:%d: %s", path, located.GetToken().Position.Line, located.GetMessage())
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var all []Threshold
	for _, doc := range file.Docs {
		entries, ok := mapping(doc.Body)
		if !ok {
			if doc.Body == nil {
				continue
			}
			return nil, fmt.Errorf(`%s:%d: a line is a figure and its bound, such as completed_share: ">= 99 %%"`, path, doc.Body.GetToken().Position.Line)
		}
		for _, entry := range entries {
			line := entry.Key.GetToken().Position.Line
			bound, ok := entry.Value.(*ast.StringNode)
			if !ok {
				return nil, fmt.Errorf(`%s:%d: the bound of %s is a text in quotes, such as "<= 250ms"`, path, line, entry.Key)
			}
			t, err := NewThreshold(entry.Key.String(), bound.Value)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", path, line, err)
			}
			if slices.ContainsFunc(all, func(o Threshold) bool { return o.Figure == t.Figure && o.op == t.op }) {
				return nil, fmt.Errorf("%s:%d: %s is bounded twice in the same direction", path, line, t.Figure)
			}
			all = append(all, t)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: no threshold in it; a line is a figure and its bound, such as completed_share: \">= 99 %%\"", path)
	}
	return all, nil
}

func mapping(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch m := n.(type) {
	case *ast.MappingNode:
		return m.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{m}, true
	default:
		return nil, false
	}
}

// NewThreshold makes a Threshold from a figure's name and a bound such as "<= 250ms", ">= 99 %" or "== 0".
func NewThreshold(figure, bound string) (Threshold, error) {
	f, ok := figures()[figure]
	if !ok {
		return Threshold{}, fmt.Errorf("threshold: there is no figure %q; there are %s", figure, strings.Join(ThresholdNames(), ", "))
	}
	bound = strings.TrimSpace(bound)
	for _, op := range []string{"<=", ">=", "==", "<", ">"} {
		rest, ok := strings.CutPrefix(bound, op)
		if !ok {
			continue
		}
		value, err := f.unit.parse(strings.TrimSpace(rest))
		if err != nil {
			return Threshold{}, fmt.Errorf("threshold: %s: %w", figure, err)
		}
		return Threshold{Figure: figure, op: op, value: value, text: op + " " + f.unit.format(value)}, nil
	}
	return Threshold{}, fmt.Errorf(`threshold: %s: the bound %q begins with none of <=, >=, ==, <, >`, figure, bound)
}

// Judge applies all thresholds to a run.
func Judge(all []Threshold, a Arm) []Verdict {
	verdicts := make([]Verdict, 0, len(all))
	for _, t := range all {
		f := figures()[t.Figure]
		value, known := f.of(a)
		v := Verdict{Name: t.Figure, Bound: t.text, Value: "unknown", OK: false}
		if known {
			v.Value, v.OK = f.unit.format(value), t.holds(value)
		}
		verdicts = append(verdicts, v)
	}
	return verdicts
}

// Broken reports whether a verdict is against the run.
func Broken(verdicts []Verdict) bool {
	return slices.ContainsFunc(verdicts, func(v Verdict) bool { return !v.OK })
}

func (t Threshold) holds(value float64) bool {
	switch t.op {
	case "<=":
		return value <= t.value
	case ">=":
		return value >= t.value
	case "<":
		return value < t.value
	case ">":
		return value > t.value
	default:
		return value == t.value
	}
}

type unit uint8

const (
	countBound unit = iota
	share           // 0 to 1
	latency         // seconds
)

func (u unit) parse(s string) (float64, error) {
	switch u {
	case share:
		number, percent := strings.CutSuffix(s, "%")
		v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if percent {
			v /= 100
		}
		if err != nil || !(v >= 0 && v <= 1) {
			return 0, fmt.Errorf(`%q is no share; write "99 %%" or "0.99"`, s)
		}
		return v, nil
	case latency:
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 {
			return 0, fmt.Errorf(`%q is no time; write it with its unit, such as "250ms" or "10m"`, s)
		}
		return d.Seconds(), nil
	default:
		v, err := strconv.ParseFloat(s, 64)
		if err != nil || !(v >= 0) || math.IsInf(v, 0) {
			return 0, fmt.Errorf(`%q is no count; write a number, such as "0"`, s)
		}
		return v, nil
	}
}

func (u unit) format(v float64) string {
	switch u {
	case share:
		return strconv.FormatFloat(math.Round(1e4*v)/100, 'f', -1, 64) + " %"
	case latency:
		if math.IsInf(v, 1) {
			return "never"
		}
		return time.Duration(v * float64(time.Second)).Round(time.Microsecond).String()
	default:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
}

// ExampleThresholds returns a file to begin with.
func ExampleThresholds() []byte {
	var b bytes.Buffer
	for _, line := range []string{
		`completed_share: ">= 99 %"`, `everybody_wait_p99: "<= 10m"`, `start_p99: "<= 250ms"`, `lost: "== 0"`,
	} {
		fmt.Fprintln(&b, line)
	}
	return b.Bytes()
}

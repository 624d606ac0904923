package observe

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

// Asked is what became of one query.
type Asked struct {
	Query
	Series  int
	Empty   bool
	Finite  int      // points; 0: a panel shows nothing
	NaN     int      // points that are no number: a gap in a plot
	Remarks []string // Prometheus's own, such as of a rate of what is no counter
	Faults  []string // what must not be; that nothing is shown is judged by who asks
}

// Ask sends a query as a panel over a time would, and returns what a reader would stumble over: an error, infinite points, a remark of
// Prometheus's own, the number of points. An alert that does not fire is empty by design. So that a misspelt metric in it is noticed,
// Prometheus takes the expression apart (parse_query), and each selector must find series.
func (p *Prometheus) Ask(ctx context.Context, q Query, from, to time.Time) (Asked, error) {
	a := Asked{Query: q}
	matrix, remarks, err := p.Between(ctx, q.Expr, from, to)
	if ctx.Err() != nil {
		return a, ctx.Err()
	}
	if err != nil {
		a.Faults = append(a.Faults, err.Error())
		return a, nil
	}
	a.Series, a.Empty, a.Remarks = len(matrix), len(matrix) == 0, remarks
	infinite := 0
	for _, series := range matrix {
		for _, point := range series.Values {
			switch v := float64(point.Value); {
			case math.IsInf(v, 0):
				infinite++
			case math.IsNaN(v):
				a.NaN++
			default:
				a.Finite++
			}
		}
		a.Finite += finiteHistograms(series)
	}
	if infinite > 0 {
		a.Faults = append(a.Faults, fmt.Sprintf("%d points are infinite", infinite))
	}
	for _, r := range remarks {
		a.Faults = append(a.Faults, "Prometheus remarks: "+r)
	}
	if !q.Alert {
		return a, nil
	}
	dead, err := p.deadSelectors(ctx, q.Expr, from, to)
	for _, selector := range dead {
		a.Faults = append(a.Faults, "nothing is found by "+selector)
	}
	return a, err
}

// finiteHistograms counts native histograms, as heat maps ask for them.
func finiteHistograms(series *model.SampleStream) (n int) {
	for _, h := range series.Histograms {
		if h.Histogram != nil && !math.IsNaN(float64(h.Histogram.Count)) {
			n++
		}
	}
	return n
}

// node is what is looked at of Prometheus's syntax tree.
type node struct {
	Type     string `json:"type"`
	Name     string `json:"name"`
	Matchers []struct {
		Name  string `json:"name"`
		Type  string `json:"type"`
		Value string `json:"value"`
	} `json:"matchers"`
	Expr json.RawMessage   `json:"expr"`
	LHS  json.RawMessage   `json:"lhs"`
	RHS  json.RawMessage   `json:"rhs"`
	Args []json.RawMessage `json:"args"`
}

// deadSelectors are those of an expression that found no series over a time. Prometheus itself takes the expression apart.
func (p *Prometheus) deadSelectors(ctx context.Context, expr string, from, to time.Time) (dead []string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base+"/api/v1/parse_query?query="+url.QueryEscape(expr), nil)
	if err != nil {
		return nil, fmt.Errorf("observe: %w", err)
	}
	response, err := p.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("observe: %w", err)
	}
	defer response.Body.Close() //nolint:errcheck // read to its end or given up
	var tree struct {
		Data json.RawMessage `json:"data"`
	}
	if err := json.NewDecoder(response.Body).Decode(&tree); err != nil {
		return nil, fmt.Errorf("observe: parse_query: %w", err)
	}
	selectors, err := selectorsOf(tree.Data)
	if err != nil {
		return nil, err
	}
	for _, selector := range selectors {
		matrix, _, err := p.Between(ctx, selector, from, to)
		if err != nil {
			return nil, err
		}
		if len(matrix) == 0 {
			dead = append(dead, selector)
		}
	}
	return dead, nil
}

func selectorsOf(data json.RawMessage) (selectors []string, err error) {
	if len(data) == 0 || string(data) == "null" {
		return nil, nil
	}
	var n node
	if err := json.Unmarshal(data, &n); err != nil {
		return nil, fmt.Errorf("observe: parse_query: %w", err)
	}
	if n.Type == "vectorSelector" || n.Type == "matrixSelector" {
		var matchers []string
		for _, m := range n.Matchers {
			matchers = append(matchers, fmt.Sprintf("%s%s%q", m.Name, m.Type, m.Value))
		}
		return []string{"{" + strings.Join(matchers, ",") + "}"}, nil
	}
	for _, child := range append([]json.RawMessage{n.Expr, n.LHS, n.RHS}, n.Args...) {
		below, err := selectorsOf(child)
		if err != nil {
			return nil, err
		}
		selectors = append(selectors, below...)
	}
	return selectors, nil
}

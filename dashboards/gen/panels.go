package main

import (
	"fmt"
	"sort"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// One colour, one meaning.
const (
	green  = "green"
	amber  = "orange"
	red    = "red"
	yellow = "yellow"
	blue   = "blue"
	purple = "purple"
	teal   = "#37A2A5"
	grey   = "#8E8E8E"
)

// Units, as Grafana names them.
const (
	number    = "none"
	ratio     = "percentunit"
	seconds   = "s"
	size      = "bytes"
	perSecond = "si:/s" // calls, jobs, items a second: 12 k/s
	byteRate  = "Bps"
)

// query is one expression; its legend may have labels, as in {{lane}}.
type query struct{ Expr, Legend string }

// step is a threshold: from this value on the colour. The first step's value is not looked at.
type step struct {
	From   float64
	Colour string
}

// panel is one tile, chart or text. Width is in 24ths of the page, height in Grafana's units of 38 pixels.
type panel struct {
	Title, About, Unit string
	// Runbook names the alert that watches the same; see dashboards/runbooks.
	Runbook       string
	Width, Height uint32
	Queries       []query
	Steps         []step
	// Words stand for values.
	Words []words
	// Colours of series by name; those not named here take Grafana's.
	Colours map[string]string
	// Dashed are series that are a bound, not a measurement.
	Dashed []string
	Stack  bool
	Log    bool
	// Max of the axis; 0: free. Free: the axis begins where the data do, below 0 too.
	Max   float64
	Free  bool
	Whole bool // no decimals

	Tile    bool
	Names   bool // a tile shows the names of its series, not their values
	ByAlert bool // each name is an alert's, and leads to its runbook
}

// words say a range of values; To below From: without an end.
type words struct {
	From, To float64
	Text     string
	Colour   string
}

func source() common.DataSourceRef {
	return common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("${datasource}")}
}

func (p panel) runbookURL() string { return "${runbook_base}/" + p.Runbook + ".md" }

// build makes Grafana's panel of it.
func (p panel) build(id uint32, at dashboard.GridPos) (dashboard.Panel, error) {
	switch {
	case p.Tile:
		return p.tile(id, at)
	default:
		return p.chart(id, at)
	}
}

func (p panel) tile(id uint32, at dashboard.GridPos) (dashboard.Panel, error) {
	show := common.BigValueTextModeValue
	link := p.runbookURL()
	if p.Names {
		show = common.BigValueTextModeName
	}
	if p.ByAlert {
		link = "${runbook_base}/${__field.labels.alertname}.md"
	}
	b := stat.NewPanelBuilder().Id(id).Title(p.Title).Description(p.About).GridPos(at).Datasource(source()).Unit(p.Unit).
		Orientation(common.VizOrientationAuto).TextMode(show).ColorMode(common.BigValueColorModeBackground).
		GraphMode(common.BigValueGraphModeNone).JustifyMode(common.BigValueJustifyModeCenter).
		WideLayout(true).ShowPercentChange(false).PercentChangeColorMode(common.PercentChangeColorModeStandard).
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"}).Fields("").Values(false)).
		Thresholds(p.thresholds()).Mappings(p.mappings()).
		ColorScheme(dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdThresholds)).
		DataLinks([]cog.Builder[dashboard.DashboardLink]{runbookLink(link)}).
		Links([]cog.Builder[dashboard.DashboardLink]{runbookLink(p.runbookURL())})
	if p.Whole {
		b = b.Decimals(0)
	}
	for i, q := range p.Queries {
		b = b.WithTarget(p.target(i, q).Instant())
	}
	return b.Build()
}

func (p panel) chart(id uint32, at dashboard.GridPos) (dashboard.Panel, error) {
	lines := common.GraphThresholdsStyleModeOff
	if len(p.Steps) > 0 {
		lines = common.GraphThresholdsStyleModeDashed
	}
	stacking, fill := common.StackingModeNone, 6.0
	if p.Stack {
		stacking, fill = common.StackingModeNormal, 60
	}
	if p.Log {
		fill = 0 // the area under a logarithm means nothing
	}
	scale := common.NewScaleDistributionConfigBuilder().Type(common.ScaleDistributionLinear)
	if p.Log {
		scale = common.NewScaleDistributionConfigBuilder().Type(common.ScaleDistributionLog).Log(10)
	}
	b := timeseries.NewPanelBuilder().Id(id).Title(p.Title).Description(p.About).GridPos(at).Datasource(source()).Unit(p.Unit).
		Orientation(common.VizOrientationAuto).
		Legend(common.NewVizLegendOptionsBuilder().DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom).
			ShowLegend(true).Calcs([]string{})).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending)).
		Thresholds(p.thresholds()).
		ThresholdsStyle(common.NewGraphThresholdsStyleConfigBuilder().Mode(lines)).
		ColorScheme(dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdPaletteClassic)).
		DrawStyle(common.GraphDrawStyleLine).LineInterpolation(common.LineInterpolationLinear).LineWidth(1.5).
		FillOpacity(fill).GradientMode(common.GraphGradientModeNone).ShowPoints(common.VisibilityModeNever).PointSize(4).
		SpanNulls(common.BoolOrFloat64{Bool: cog.ToPtr(false)}).
		AxisPlacement(common.AxisPlacementAuto).AxisColorMode(common.AxisColorModeText).ScaleDistribution(scale).
		Stacking(common.NewStackingConfigBuilder().Mode(stacking).Group("A")).
		Links([]cog.Builder[dashboard.DashboardLink]{runbookLink(p.runbookURL())})
	if !p.Free && !p.Log {
		b = b.Min(0)
	}
	if p.Max > 0 {
		b = b.AxisSoftMax(p.Max)
	}
	if p.Whole {
		b = b.Decimals(0)
	}
	names := make([]string, 0, len(p.Colours))
	for name := range p.Colours {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		b = b.OverrideByName(name, []dashboard.DynamicConfigValue{
			{Id: "color", Value: map[string]any{"mode": "fixed", "fixedColor": p.Colours[name]}},
		})
	}
	for _, pattern := range p.Dashed {
		b = b.OverrideByRegexp(pattern, []dashboard.DynamicConfigValue{
			{Id: "custom.lineStyle", Value: map[string]any{"fill": "dash", "dash": []int{8, 6}}},
			{Id: "custom.fillOpacity", Value: 0},
			{Id: "custom.stacking", Value: map[string]any{"mode": "none", "group": "A"}},
		})
	}
	for i, q := range p.Queries {
		b = b.WithTarget(p.target(i, q).Range())
	}
	return b.Build()
}

func (p panel) target(i int, q query) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().RefId(string(rune('A' + i))).Expr(q.Expr).LegendFormat(q.Legend).
		EditorMode(prometheus.QueryEditorModeCode).Format(prometheus.PromQueryFormatTimeSeries)
}

func (p panel) thresholds() *dashboard.ThresholdsConfigBuilder {
	steps := []dashboard.Threshold{{Color: green}}
	for i, s := range p.Steps {
		if i == 0 {
			steps[0].Color = s.Colour
			continue
		}
		steps = append(steps, dashboard.Threshold{Value: cog.ToPtr(s.From), Color: s.Colour})
	}
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(steps)
}

func (p panel) mappings() []dashboard.ValueMapping {
	mappings := make([]dashboard.ValueMapping, 0, len(p.Words))
	for i, w := range p.Words {
		result := dashboard.ValueMappingResult{Text: cog.ToPtr(w.Text), Index: cog.ToPtr(int32(i))}
		if w.Colour != "" {
			result.Color = cog.ToPtr(w.Colour)
		}
		options := dashboard.DashboardRangeMapOptions{From: cog.ToPtr(w.From), Result: result}
		if w.To >= w.From {
			options.To = cog.ToPtr(w.To)
		}
		mappings = append(mappings, dashboard.ValueMapping{
			RangeMap: &dashboard.RangeMap{Type: dashboard.MappingTypeRangeToText, Options: options}})
	}
	return mappings
}

func runbookLink(url string) cog.Builder[dashboard.DashboardLink] {
	return dashboard.NewDashboardLinkBuilder(fmt.Sprintf("Runbook: %s", "what it means and what to do")).Url(url).
		Type(dashboard.DashboardLinkTypeLink).TargetBlank(true)
}

package main

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

// runbooks is where the links lead unless the dashboard's variable says otherwise: a private copy, a wiki.
const runbooks = "https://github.com/surgegate/surgegate/blob/main/dashboards/runbooks"

// pageWidth is Grafana's grid.
const pageWidth = 24

// board is one dashboard.
type board struct {
	File, UID, Title, About string
	// One: an instance at a time; otherwise several or all.
	One         bool
	Annotations []annotation
	Rows        []row
	// Links lead to the other dashboards, by uid.
	Links []link
}

type link struct{ Title, UID string }

// row is a question, its answer in panels from left to right; a line ends when the page's width is used up.
type row struct {
	Title     string
	Read      string // how, in the title: few tell a tile's meaning from the ⓘ while it burns
	Collapsed bool
	Panels    []panel
}

// annotation marks moments on all charts.
type annotation struct {
	Name, Expr, Title, Colour string
	Off                       bool // until somebody wants it
}

// json is the dashboard as Grafana imports it.
func (b board) json() ([]byte, error) {
	//nolint:staticcheck // classic JSON is what every Grafana imports; the schema that it is to be replaced by is not
	d := dashboard.NewDashboardBuilder(b.Title).Uid(b.UID).Description(b.About).Tags([]string{"surgegate"}).
		Timezone("browser").Editable().Tooltip(dashboard.DashboardCursorSyncCrosshair).Refresh("10s").Time("now-1h", "now").
		Version(1)
	for _, v := range b.variables() {
		d = d.WithVariable(v)
	}
	for _, a := range b.Annotations {
		d = d.Annotation(dashboard.NewAnnotationQueryBuilder().Name(a.Name).Datasource(source()).Enable(!a.Off).
			IconColor(a.Colour).TitleFormat(a.Title).
			Target(prometheus.NewDataqueryBuilder().RefId("A").Expr(a.Expr).Range().EditorMode(prometheus.QueryEditorModeCode)))
	}
	for _, l := range b.Links {
		d = d.Link(dashboard.NewDashboardLinkBuilder(l.Title).Type(dashboard.DashboardLinkTypeLink).Url("/d/" + l.UID).
			KeepTime(true).IncludeVars(true).Icon("dashboard"))
	}
	made, err := d.Build()
	if err != nil {
		return nil, err
	}
	if made.Panels, err = b.panels(); err != nil {
		return nil, err
	}
	return encode(made)
}

// panels lays the rows out below each other.
func (b board) panels() ([]dashboard.PanelOrRowPanel, error) {
	var all []dashboard.PanelOrRowPanel
	id, y := uint32(0), uint32(0)
	for _, r := range b.Rows {
		id++
		header := dashboard.RowPanel{Type: "row", Title: cog.ToPtr(r.heading()), Id: id, Collapsed: r.Collapsed,
			GridPos: &dashboard.GridPos{Y: y, W: pageWidth, H: 1}, Panels: []dashboard.Panel{}}
		y++
		placed, height, err := r.place(&id, y)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.Title, err)
		}
		if r.Collapsed {
			header.Panels = placed
		}
		all = append(all, dashboard.PanelOrRowPanel{RowPanel: &header})
		y += height
		if r.Collapsed {
			continue
		}
		for i := range placed {
			all = append(all, dashboard.PanelOrRowPanel{Panel: &placed[i]})
		}
	}
	return all, nil
}

func (r row) place(id *uint32, top uint32) (placed []dashboard.Panel, height uint32, err error) {
	x, y, line := uint32(0), top, uint32(0)
	for _, p := range r.Panels {
		if x+p.Width > pageWidth {
			x, y, line = 0, y+line, 0
		}
		*id++
		made, err := p.build(*id, dashboard.GridPos{X: x, Y: y, W: p.Width, H: p.Height})
		if err != nil {
			return nil, 0, fmt.Errorf("%s: %w", p.Title, err)
		}
		placed = append(placed, made)
		x, line = x+p.Width, max(line, p.Height)
	}
	return placed, y + line - top, nil
}

func (r row) heading() string {
	if r.Read == "" {
		return r.Title
	}
	return r.Title + "  —  " + r.Read
}

func (b board) variables() []cog.Builder[dashboard.VariableModel] {
	text := func(s string) dashboard.StringOrArrayOfString { return dashboard.StringOrArrayOfString{String: &s} }
	all := dashboard.VariableOption{Selected: cog.ToPtr(true), Text: text("All"), Value: text("$__all")}
	choose := func(name, label, query string) *dashboard.QueryVariableBuilder {
		return dashboard.NewQueryVariableBuilder(name).Label(label).Datasource(source()).
			Query(dashboard.StringOrMap{String: &query}).
			Refresh(dashboard.VariableRefreshOnTimeRangeChanged).Sort(dashboard.VariableSortAlphabeticalAsc)
	}
	instance := choose("instance", "Instance", `label_values(surgegate_build_info{job=~"$job"}, instance)`)
	if !b.One {
		instance = instance.Multi(true).IncludeAll(true).AllValue(".+").Current(all)
	}
	return []cog.Builder[dashboard.VariableModel]{
		dashboard.NewDatasourceVariableBuilder("datasource").Label("Prometheus").Type("prometheus").
			Current(dashboard.VariableOption{Text: text("Prometheus"), Value: text("prometheus")}),
		choose("job", "Job", `label_values(surgegate_build_info, job)`).
			Multi(true).IncludeAll(true).AllValue(".+").Current(all),
		instance,
		dashboard.NewConstantVariableBuilder("runbook_base").Label("Runbooks").
			Description("Where the runbooks' pages are.").Value(dashboard.StringOrMap{String: cog.ToPtr(runbooks)}),
	}
}

// prune leaves out what the SDK writes without being asked: keys of another kind of variable, and the placement that hides
// links and annotations in a menu.
func prune(node any) {
	switch node := node.(type) {
	case []any:
		for _, child := range node {
			prune(child)
		}
	case map[string]any:
		if node["placement"] == "inControlsMenu" {
			delete(node, "placement")
		}
		for _, key := range []string{"auto", "auto_min", "auto_count"} {
			delete(node, key)
		}
		for _, child := range node {
			prune(child)
		}
	}
}

func encode(d dashboard.Dashboard) ([]byte, error) { //nolint:staticcheck // classic JSON, as above
	text, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	var tree map[string]any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&tree); err != nil {
		return nil, err
	}
	prune(tree)
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(tree); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

package audit

import (
	"encoding/json"
	"fmt"
)

// Board is a dashboard's file, as far as it is looked at.
type Board struct {
	Title       string  `json:"title"`
	UID         string  `json:"uid"`
	Panels      []Panel `json:"panels"`
	Annotations struct {
		List []struct {
			Name   string `json:"name"`
			Expr   string `json:"expr"`
			Target Target `json:"target"`
		} `json:"list"`
	} `json:"annotations"`
	Templating struct {
		List []Variable `json:"list"`
	} `json:"templating"`
	text string
}

// Variable of a dashboard.
type Variable struct {
	Name  string          `json:"name"`
	Type  string          `json:"type"`
	Query json.RawMessage `json:"query"`
}

// Panel is a tile, a chart, a text, or a row with the panels that are folded into it.
type Panel struct {
	Type        string    `json:"type"`
	Title       string    `json:"title"`
	Description string    `json:"description"`
	Panels      []Panel   `json:"panels"`
	Targets     []Target  `json:"targets"`
	Links       []Link    `json:"links"`
	FieldConfig FieldConf `json:"fieldConfig"`
	GridPos     Place     `json:"gridPos"`
	Collapsed   bool      `json:"collapsed"`
}

// Place on the grid.
type Place struct{ X, Y, W, H int }

// Link leads to a runbook.
type Link struct {
	URL string `json:"url"`
}

// Target is one query.
type Target struct {
	Expr    string `json:"expr"`
	Legend  string `json:"legendFormat"`
	Instant bool   `json:"instant"`
}

// FieldConf says how values are shown.
type FieldConf struct {
	Defaults struct {
		Unit       string `json:"unit"`
		Thresholds struct {
			Steps []json.RawMessage `json:"steps"`
		} `json:"thresholds"`
	} `json:"defaults"`
	Overrides []struct {
		Matcher struct {
			ID      string          `json:"id"`
			Options json.RawMessage `json:"options"`
		} `json:"matcher"`
		Properties []struct {
			ID    string          `json:"id"`
			Value json.RawMessage `json:"value"`
		} `json:"properties"`
	} `json:"overrides"`
}

// Read a dashboard's file.
func Read(text []byte) (Board, error) {
	b := Board{text: string(text)}
	if err := json.Unmarshal(text, &b); err != nil {
		return Board{}, fmt.Errorf("audit: %w", err)
	}
	return b, nil
}

// All panels but rows, those in folded rows included.
func (b Board) All() []Panel { return flatten(b.Panels) }

func flatten(panels []Panel) (all []Panel) {
	for _, p := range panels {
		if p.Type != "row" {
			all = append(all, p)
		}
		all = append(all, flatten(p.Panels)...)
	}
	return all
}

// Colours are the fixed ones, by series.
func (p Panel) Colours() map[string]string {
	colours := map[string]string{}
	for _, o := range p.FieldConfig.Overrides {
		var name string
		if o.Matcher.ID != "byName" || json.Unmarshal(o.Matcher.Options, &name) != nil {
			continue
		}
		for _, property := range o.Properties {
			var colour struct {
				FixedColor string `json:"fixedColor"`
			}
			if property.ID == "color" && json.Unmarshal(property.Value, &colour) == nil {
				colours[name] = colour.FixedColor
			}
		}
	}
	return colours
}

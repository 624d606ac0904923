// Package figures aligns tables and wraps text for a terminal.
package figures

import (
	"strings"

	"github.com/surgegate/surgegate/internal/screen"
)

// gap between two columns.
const gap = "  "

// Table is rows of cells under a head. Cells may be coloured.
type Table struct {
	head  []string
	right []bool
	rows  [][]string
}

// NewTable makes one. A column whose head starts with ">" is aligned to the right, as numbers are.
func NewTable(head ...string) *Table {
	t := &Table{}
	for _, h := range head {
		t.right = append(t.right, strings.HasPrefix(h, ">"))
		t.head = append(t.head, strings.TrimPrefix(h, ">"))
	}
	return t
}

// Add adds a row; cells that are missing are empty.
func (t *Table) Add(cells ...string) {
	row := make([]string, len(t.head))
	copy(row, cells)
	t.rows = append(t.rows, row)
}

// Len is how many rows there are.
func (t *Table) Len() int { return len(t.rows) }

// Lines are the head and the rows, aligned, without blanks at their ends.
func (t *Table) Lines() []string {
	widths := make([]int, len(t.head))
	all := append([][]string{t.head}, t.rows...)
	for _, row := range all {
		for i, cell := range row {
			widths[i] = max(widths[i], screen.Visible(cell))
		}
	}
	lines := make([]string, len(all))
	for n, row := range all {
		var b strings.Builder
		for i, cell := range row {
			if i > 0 {
				b.WriteString(gap)
			}
			pad := strings.Repeat(" ", widths[i]-screen.Visible(cell))
			if t.right[i] {
				b.WriteString(pad + cell)
			} else {
				b.WriteString(cell + pad)
			}
		}
		lines[n] = strings.TrimRight(b.String(), " ")
	}
	return lines
}

// Wrap breaks a text into lines of at most width columns, between words; a word that is longer stays whole.
func Wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case screen.Visible(line)+1+screen.Visible(word) <= width:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

package components

import (
	"strings"

	"github.com/charmbracelet/x/ansi"

	"hatchery/tui/theme"
)

// Column is a column of a table.
type Column struct {
	Title    string
	Right    bool // align to the right, as for numbers
	MinWidth int  // width down to which the column may be cut if the table is too wide; 0: it is not cut
	Drop     int  // if the table is still too wide, the column with the highest Drop is left out first; 0: never
}

// Table draws titles and rows in columns as wide as their content. If the table is too
// wide, it cuts columns, then leaves some out. selected is the index of the selected row, or -1.
func Table(t *theme.Theme, columns []Column, rows [][]string, selected, width int) []string {
	shown, widths := fitColumns(columns, rows, width)
	line := func(cells []string, plain bool) string {
		var parts []string
		for _, i := range shown {
			text := ""
			if i < len(cells) {
				text = cells[i]
			}
			if plain {
				text = ansi.Strip(text)
			}
			if ansi.StringWidth(text) > widths[i] {
				text = Cut(t, text, widths[i])
			}
			pad := strings.Repeat(" ", widths[i]-ansi.StringWidth(text))
			if columns[i].Right {
				text = pad + text
			} else {
				text += pad
			}
			parts = append(parts, text)
		}
		return strings.Join(parts, "  ")
	}
	titles := make([]string, len(columns))
	for i, c := range columns {
		titles[i] = c.Title
	}
	lines := []string{t.Dim.Render(FitLine("  "+line(titles, true), width))}
	for i, r := range rows {
		if i == selected {
			lines = append(lines, t.Selected.Render(FitLine(t.Cursor+" "+line(r, true), width)))
			continue
		}
		lines = append(lines, FitLine("  "+line(r, false), width))
	}
	return lines
}

// fitColumns chooses the columns that fit and their widths.
func fitColumns(columns []Column, rows [][]string, width int) (shown []int, widths []int) {
	widths = make([]int, len(columns))
	for i, c := range columns {
		widths[i] = len(c.Title)
		for _, r := range rows {
			if i < len(r) {
				widths[i] = max(widths[i], ansi.StringWidth(r[i]))
			}
		}
		shown = append(shown, i)
	}
	total := func() int {
		sum := 2 // the cursor
		for _, i := range shown {
			sum += widths[i] + 2
		}
		return sum - 2
	}
	for total() > width {
		// First cut a column that may be cut, then drop one that may be dropped.
		excess := total() - width
		cut := false
		for _, i := range shown {
			if low := columns[i].MinWidth; low > 0 && widths[i] > low {
				widths[i] = max(low, widths[i]-excess)
				cut = true
				break
			}
		}
		if cut {
			continue
		}
		drop := -1
		for pos, i := range shown {
			if columns[i].Drop > 0 && (drop < 0 || columns[i].Drop > columns[shown[drop]].Drop) {
				drop = pos
			}
		}
		if drop < 0 {
			break // FitLine cuts the rest
		}
		shown = append(shown[:drop:drop], shown[drop+1:]...)
	}
	return shown, widths
}

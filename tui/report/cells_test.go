package report

import (
	"math"
	"testing"
)

// TestExactCells checks that no text acts as a formula in a spreadsheet and that numbers
// stay exact.
func TestExactCells(t *testing.T) {
	for _, c := range []struct {
		cell Cell
		want string
	}{
		{text("assembling"), "assembling"},
		{text("=HYPERLINK(\"x\")"), "'=HYPERLINK(\"x\")"},
		{text("+cmd|' /C calc'!A0"), "'+cmd|' /C calc'!A0"},
		{text("-2+3"), "'-2+3"},
		{text("@SUM(1)"), "'@SUM(1)"},
		{text("＝1+1"), "'＝1+1"},
		{text("\t=1"), `\t=1`},
		{text("\r=1"), `\r=1`},
		{text("-0.5"), "-0.5"},
		{text("+1e3"), "+1e3"},
		{text("-Inf"), "'-Inf"},
		{text("a=b"), "a=b"},
		{text(""), ""},
		{number(-1.25, 1), "-1.25"},
		{number(math.NaN(), 1), ""},
	} {
		if got := c.cell.Exact(); got != c.want {
			t.Errorf("%+v is %q, want %q", c.cell, got, c.want)
		}
	}
	head := Table{Head: []string{"=1+1"}}
	if got := string(head.csv()); got != "'=1+1\n" {
		t.Errorf("head %q", got)
	}
}

package components

import (
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"hatchery/tui/theme"
)

func sized(t *testing.T, what, text string, w, h int) {
	t.Helper()
	lines := strings.Split(text, "\n")
	if len(lines) != h {
		t.Errorf("%s: %d lines, want %d", what, len(lines), h)
	}
	for _, l := range lines {
		if n := ansi.StringWidth(l); n != w {
			t.Errorf("%s: a line of %d cells, want %d: %q", what, n, w, l)
		}
	}
}

func TestPanel(t *testing.T) {
	th := theme.New(theme.Options{ASCII: true})
	got := ansi.Strip(Panel(th, "title", "a\nlong line\nlost", 10, 4))
	want := "" +
		"+- tit~ -+\n" +
		"| a      |\n" +
		"| long l |\n" +
		"+--------+"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for w := 1; w < 40; w++ {
		for h := 1; h < 8; h++ {
			sized(t, "panel", Panel(th, "a long title", "x\ny\nz", w, h), w, h)
			sized(t, "wide runes", Panel(theme.New(theme.Options{}), "日本語", "日本語\n日本語", w, h), w, h)
		}
	}
}

func TestTable(t *testing.T) {
	th := theme.New(theme.Options{ASCII: true})
	columns := []Column{{Title: "name", MinWidth: 5}, {Title: "n", Right: true}, {Title: "more", Drop: 1}}
	rows := [][]string{{"a long name", "1", "x"}, {"b", "100", th.Bad.Render("yy")}}
	for w := 1; w < 50; w++ {
		for _, l := range Table(th, columns, rows, 1, w) {
			if n := ansi.StringWidth(l); n != w {
				t.Errorf("at %d a line has %d cells: %q", w, n, l)
			}
		}
	}
	got := ansi.Strip(strings.Join(Table(th, columns, rows, 1, 26), "|"))
	if want := "  name           n  more  |  a long name    1  x     |> b            100  yy    "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	narrow := ansi.Strip(strings.Join(Table(th, columns, rows, -1, 13), "\n"))
	if strings.Contains(narrow, "more") || !strings.Contains(narrow, "a lo~  ") || !strings.Contains(narrow, "100") {
		t.Errorf("a narrow table must drop the last column and cut the first:\n%s", narrow)
	}
}

func TestList(t *testing.T) {
	var l List
	l.SetSize(10, 3)
	for _, c := range []struct{ by, at, from int }{{1, 1, 0}, {3, 4, 2}, {-1, 3, 2}, {-2, 1, 1}, {100, 9, 7}, {-100, 0, 0}} {
		l.Move(c.by)
		from, to := l.Visible()
		if l.Selected != c.at || from != c.from || to != c.from+3 {
			t.Errorf("after %+d: at %d, shows %d to %d; want at %d, from %d", c.by, l.Selected, from, to, c.at, c.from)
		}
	}
	l.MoveTo(9)
	l.SetSize(2, 3) // the list has become shorter
	if from, to := l.Visible(); l.Selected != 1 || from != 0 || to != 2 {
		t.Errorf("shortened: at %d, shows %d to %d", l.Selected, from, to)
	}
	l.SetSize(0, 3)
	if l.Selected != 0 {
		t.Errorf("empty: at %d", l.Selected)
	}
}

func TestBar(t *testing.T) {
	th := theme.New(theme.Options{ASCII: true})
	for part, want := range map[float64]string{-1: "....", 0: "....", 0.5: "##..", 1: "####", 7: "####"} {
		if got := ansi.Strip(Bar(th, part, 4)); got != want {
			t.Errorf("%g is %s, want %s", part, got, want)
		}
	}
}

func TestInput(t *testing.T) {
	in := NewInput("")
	key := func(code rune, text string) (bool, bool) { return in.Press(tea.KeyPressMsg{Code: code, Text: text}) }
	in.Start("ab")
	key('c', "c")
	key(tea.KeyLeft, "")
	key('x', "x")
	if got := in.WithCursor("|"); got != "abx|c" {
		t.Errorf("typed %q, want abx|c", got)
	}
	in.Paste(tea.PasteMsg{Content: "yz"})
	if entered, left := key(tea.KeyEnter, ""); !entered || left || in.Active() || in.Text() != "abxyzc" {
		t.Errorf("entered %v, left %v, %q", entered, left, in.Text())
	}
	in.Start(in.Text())
	key('!', "!")
	if entered, left := key(tea.KeyEscape, ""); entered || !left || in.Text() != "abxyzc" {
		t.Errorf("after esc: entered %v, left %v, %q", entered, left, in.Text())
	}
	in.Paste(tea.PasteMsg{Content: "late"})
	if in.Text() != "abxyzc" {
		t.Error("pasted into an inactive input")
	}
}

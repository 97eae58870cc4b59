package keymap

import (
	"fmt"
	"testing"

	tea "charm.land/bubbletea/v2"
)

type page struct {
	log  []string
	ripe bool
}

func does(what string) func(*page) tea.Cmd {
	return func(p *page) tea.Cmd { p.log = append(p.log, what); return nil }
}

var table = Table[*page]{
	{Name: "go", Keys: []string{"g", "enter"}, Help: "go on", Short: true, Do: does("go")},
	{Name: "pick", Keys: []string{"p"}, Help: "pick it", Danger: true, When: func(p *page) bool { return p.ripe }, Do: does("pick")},
}

// Press, Call and Entries must agree on which actions are available.
func TestTable(t *testing.T) {
	p := &page{}
	for _, c := range []struct {
		ripe          bool
		press, called bool
		entries       int
	}{{false, false, false, 1}, {true, true, true, 2}} {
		p.ripe = c.ripe
		if _, ok := table.Press(p, "p"); ok != c.press {
			t.Errorf("ripe %v: pressed %v", c.ripe, ok)
		}
		if _, ok := table.Call(p, "pick"); ok != c.called {
			t.Errorf("ripe %v: called %v", c.ripe, ok)
		}
		if n := len(table.Entries(p)); n != c.entries {
			t.Errorf("ripe %v: help has %d actions, want %d", c.ripe, n, c.entries)
		}
	}
	table.Press(p, "enter")
	if _, ok := table.Press(p, "x"); ok {
		t.Error("a key without an action did something")
	}
	if got := fmt.Sprint(p.log); got != "[pick pick go]" {
		t.Errorf("did %s", got)
	}
	if s := Short(table.All()); len(s) != 1 || s[0].Name != "go" || s[0].KeyText() != "g/enter" {
		t.Errorf("short help %v", s)
	}
}

func TestMarkdown(t *testing.T) {
	want := "# Keys\n\n## Page\n\n| keys | action | name |\n|---|---|---|\n| `g` `enter` | go on | go |\n| `p` | pick it (asks first) | pick |\n"
	if got := Markdown([]Section{{Title: "Page", Entries: table.All()}}); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestScroll(t *testing.T) {
	for key, want := range map[string]int{
		"up": -1, "k": -1, "down": 1, "j": 1, "pgup": -10, "pgdown": 10, "space": 10, "home": -100, "g": -100, "end": 100, "G": 100,
	} {
		if by, ok := Scroll(key, 100, 10); by != want || !ok {
			t.Errorf("%s scrolls by %d (%v), want %d", key, by, ok, want)
		}
	}
	if by, ok := Scroll("x", 100, 10); by != 0 || ok {
		t.Errorf("x scrolls by %d (%v)", by, ok)
	}
}

package pages

import (
	tea "charm.land/bubbletea/v2"

	"hatchery/tui/components"
	"hatchery/tui/keymap"
)

// hasList is a page with a list.
type hasList interface {
	cursor() *components.List
}

// listKeys returns the keys that select a line in the list of a page. If moved is not nil,
// it is called after each of them.
func listKeys[T hasList](moved func(T)) keymap.Table[T] {
	do := func(move func(l *components.List)) func(T) tea.Cmd {
		return func(p T) tea.Cmd {
			move(p.cursor())
			if moved != nil {
				moved(p)
			}
			return nil
		}
	}
	return keymap.Table[T]{
		{Name: "list.up", Keys: []string{"up", "k"}, Help: "up", Do: do(func(l *components.List) { l.Move(-1) })},
		{Name: "list.down", Keys: []string{"down", "j"}, Help: "down", Do: do(func(l *components.List) { l.Move(1) })},
		{Name: "list.top", Keys: []string{"home", "g"}, Help: "first", Do: do(func(l *components.List) { l.MoveTo(0) })},
		{Name: "list.bottom", Keys: []string{"end", "G"}, Help: "last", Do: do(func(l *components.List) { l.MoveTo(l.Count - 1) })},
	}
}

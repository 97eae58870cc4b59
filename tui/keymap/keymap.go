// Package keymap holds tables of keys. One table defines what each key does, and is also
// the source of the help, the command palette and the documentation.
package keymap

import (
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"
)

// Binding is an action on a T and its keys.
type Binding[T any] struct {
	Name  string   // in the palette and the documentation: "run.stop"
	Keys  []string // as Bubble Tea writes them: "ctrl+c", "up", "s"
	Help  string   // what it does, in a few words
	Short bool     // shown at the bottom of the screen

	// Danger marks an action that cannot be undone and that asks for confirmation.
	Danger bool

	// When reports whether the action is available. If it is nil, the action always is.
	When func(T) bool
	Do   func(T) tea.Cmd
}

// Table lists the actions on a T, in the order of the help.
type Table[T any] []Binding[T]

// Entry is a binding as the help shows it.
type Entry struct {
	Name, Help    string
	Keys          []string
	Short, Danger bool
}

// Press performs the action of a key. It returns false if no available action has the key.
func (t Table[T]) Press(on T, key string) (tea.Cmd, bool) {
	for _, b := range t {
		if slices.Contains(b.Keys, key) && (b.When == nil || b.When(on)) {
			return b.Do(on), true
		}
	}
	return nil, false
}

// Call performs the action with the given name. It returns false if no available action
// has the name.
func (t Table[T]) Call(on T, name string) (tea.Cmd, bool) {
	for _, b := range t {
		if b.Name == name && (b.When == nil || b.When(on)) {
			return b.Do(on), true
		}
	}
	return nil, false
}

// Entries returns the available actions.
func (t Table[T]) Entries(on T) []Entry {
	var es []Entry
	for _, b := range t {
		if b.When == nil || b.When(on) {
			es = append(es, b.entry())
		}
	}
	return es
}

// All returns all actions, for the documentation.
func (t Table[T]) All() []Entry {
	var es []Entry
	for _, b := range t {
		es = append(es, b.entry())
	}
	return es
}

func (b Binding[T]) entry() Entry {
	return Entry{Name: b.Name, Help: b.Help, Keys: b.Keys, Short: b.Short, Danger: b.Danger}
}

// KeyText returns the keys of an entry as the help shows them: "up/k".
func (e Entry) KeyText() string { return strings.Join(e.Keys, "/") }

// Short returns the entries that are shown at the bottom of the screen.
func Short(all []Entry) []Entry {
	return slices.DeleteFunc(slices.Clone(all), func(e Entry) bool { return !e.Short })
}

// Scroll returns by how many lines a key scrolls down in a text of the given number of
// lines, of which height are visible. It returns false if the key does not scroll. The
// caller clamps the result.
func Scroll(key string, lines, height int) (by int, ok bool) {
	switch key {
	case "up", "k":
		return -1, true
	case "down", "j":
		return 1, true
	case "pgup":
		return -height, true
	case "pgdown", "space":
		return height, true
	case "home", "g":
		return -lines, true
	case "end", "G":
		return lines, true
	}
	return 0, false
}

// Section holds the entries of one page.
type Section struct {
	Title   string
	Entries []Entry
}

// Markdown returns a Markdown document of the keys of all sections.
func Markdown(sections []Section) string {
	var b strings.Builder
	b.WriteString("# Keys\n")
	for _, s := range sections {
		b.WriteString("\n## " + s.Title + "\n\n| keys | action | name |\n|---|---|---|\n")
		for _, e := range s.Entries {
			keys := make([]string, len(e.Keys))
			for i, k := range e.Keys {
				keys[i] = "`" + k + "`"
			}
			help := e.Help
			if e.Danger {
				help += " (asks first)"
			}
			b.WriteString("| " + strings.Join(keys, " ") + " | " + help + " | " + e.Name + " |\n")
		}
	}
	return b.String()
}

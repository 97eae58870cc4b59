package components

import (
	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"

	"hatchery/tui/theme"
)

// Input is a line of text that can be edited.
type Input struct {
	model    textinput.Model
	active   bool
	previous string // the text that Esc restores
}

// NewInput returns an input. The placeholder is shown while it is empty.
func NewInput(placeholder string) *Input {
	m := textinput.New()
	m.Prompt = ""
	m.Placeholder = placeholder
	styles := m.Styles()
	styles.Cursor.Blink = false // nothing on the screen moves by itself
	m.SetStyles(styles)
	return &Input{model: m}
}

// Start begins to edit the text.
func (in *Input) Start(text string) {
	in.active, in.previous = true, text
	in.model.SetValue(text)
	in.model.CursorEnd()
	in.model.Focus()
}

// Active reports whether the input is being edited.
func (in *Input) Active() bool { return in.active }

// Text returns the text.
func (in *Input) Text() string { return in.model.Value() }

// Press handles a key. Enter ends editing and accepts the text; Esc ends editing and
// restores the previous text. Press reports which of them happened, if any.
func (in *Input) Press(k tea.KeyPressMsg) (accepted, cancelled bool) {
	switch k.String() {
	case "enter", "tab", "down", "up":
		in.end()
		return true, false
	case "esc":
		in.model.SetValue(in.previous)
		in.end()
		return false, true
	}
	in.model, _ = in.model.Update(k) // the command only makes the cursor blink
	return false, false
}

// Paste inserts pasted text.
func (in *Input) Paste(m tea.PasteMsg) {
	if in.active {
		in.model, _ = in.model.Update(m)
	}
}

func (in *Input) end() {
	in.active = false
	in.model.Blur()
}

// View draws the text, with a cursor while it is being edited.
func (in *Input) View(t *theme.Theme) string {
	if !in.active {
		return in.Text()
	}
	text := []rune(in.model.Value())
	pos := in.model.Position()
	if pos >= len(text) {
		return string(text) + t.Selected.Render(" ")
	}
	return string(text[:pos]) + t.Selected.Render(string(text[pos])) + string(text[pos+1:])
}

// WithCursor returns the text with the string cursor inserted at the cursor position, for
// lines that are styled as a whole.
func (in *Input) WithCursor(cursor string) string {
	text := []rune(in.model.Value())
	pos := min(in.model.Position(), len(text))
	return string(text[:pos]) + cursor + string(text[pos:])
}

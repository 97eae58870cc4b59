package components

import (
	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"

	"hatchery/tui/theme"
)

// Input is a line of text that can be edited.
type Input struct {
	model  textinput.Model
	active bool
	before string // the text that Esc restores
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
	in.active, in.before = true, text
	in.model.SetValue(text)
	in.model.CursorEnd()
	in.model.Focus()
}

// Active reports whether the input is being edited.
func (in *Input) Active() bool { return in.active }

// Text returns the text.
func (in *Input) Text() string { return in.model.Value() }

// Press takes a key. Enter ends the editing and keeps the text, Esc restores the text
// before it; the results report which it was.
func (in *Input) Press(k tea.KeyPressMsg) (entered, left bool) {
	switch k.String() {
	case "enter", "tab", "down", "up":
		in.end()
		return true, false
	case "esc":
		in.model.SetValue(in.before)
		in.end()
		return false, true
	}
	in.model, _ = in.model.Update(k) // its command only blinks
	return false, false
}

// Paste inserts text that the terminal pastes.
func (in *Input) Paste(m tea.PasteMsg) {
	if in.active {
		in.model, _ = in.model.Update(m)
	}
}

func (in *Input) end() {
	in.active = false
	in.model.Blur()
}

// View draws the text, with a cursor while it is edited.
func (in *Input) View(t *theme.Theme) string {
	if !in.active {
		return in.Text()
	}
	text := []rune(in.model.Value())
	at := in.model.Position()
	if at >= len(text) {
		return string(text) + t.Selected.Render(" ")
	}
	return string(text[:at]) + t.Selected.Render(string(text[at])) + string(text[at+1:])
}

// WithCursor returns the text with a sign at the cursor, for lines that are styled as a
// whole.
func (in *Input) WithCursor(sign string) string {
	text, at := []rune(in.model.Value()), in.model.Position()
	at = min(at, len(text))
	return string(text[:at]) + sign + string(text[at:])
}

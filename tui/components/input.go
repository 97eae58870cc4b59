package components

import (
	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"

	"hatchery/tui/theme"
)

// Input is a line of text that is being written, or was.
type Input struct {
	model  textinput.Model
	active bool
	before string // what Esc brings back
}

// NewInput makes an input; the placeholder is shown while it is empty.
func NewInput(placeholder string) *Input {
	m := textinput.New()
	m.Prompt = ""
	m.Placeholder = placeholder
	styles := m.Styles()
	styles.Cursor.Blink = false // nothing moves by itself
	m.SetStyles(styles)
	return &Input{model: m}
}

// Start begins to write over a text.
func (in *Input) Start(text string) {
	in.active, in.before = true, text
	in.model.SetValue(text)
	in.model.CursorEnd()
	in.model.Focus()
}

// Active says that keys are for this input.
func (in *Input) Active() bool { return in.active }

// Text is what is written.
func (in *Input) Text() string { return in.model.Value() }

// Press takes a key. Enter ends the input and keeps the text, Esc brings back
// the one before; both are reported.
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

// Paste takes text from the terminal's clipboard.
func (in *Input) Paste(m tea.PasteMsg) {
	if in.active {
		in.model, _ = in.model.Update(m)
	}
}

func (in *Input) end() {
	in.active = false
	in.model.Blur()
}

// View draws the text, with a cursor while it is being written.
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

// WithCursor is the text with a sign at the place where one writes, for lines
// that have a style already.
func (in *Input) WithCursor(sign string) string {
	text, at := []rune(in.model.Value()), in.model.Position()
	at = min(at, len(text))
	return string(text[:at]) + sign + string(text[at:])
}

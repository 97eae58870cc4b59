package theme

// Glyphs are the symbols and lines of the screen. Each is one cell wide.
type Glyphs struct {
	ASCII bool

	Waiting, Running, Stopped, Failed, Done string // phases
	Cursor, Mark, Ellipsis, Arrow           string

	BarFull, BarEmpty string

	Horizontal, Vertical                       string // borders
	TopLeft, TopRight, BottomLeft, BottomRight string
}

var unicode = Glyphs{
	Waiting: "·", Running: "▶", Stopped: "‖", Failed: "✗", Done: "✓",
	Cursor: "›", Mark: "●", Ellipsis: "…", Arrow: "→",
	BarFull: "█", BarEmpty: "░",
	Horizontal: "─", Vertical: "│", TopLeft: "╭", TopRight: "╮", BottomLeft: "╰", BottomRight: "╯",
}

var ascii = Glyphs{
	ASCII:   true,
	Waiting: ".", Running: ">", Stopped: "=", Failed: "x", Done: "v",
	Cursor: ">", Mark: "*", Ellipsis: "~", Arrow: ">",
	BarFull: "#", BarEmpty: ".",
	Horizontal: "-", Vertical: "|", TopLeft: "+", TopRight: "+", BottomLeft: "+", BottomRight: "+",
}

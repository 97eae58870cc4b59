package theme

// Glyphs are the characters that are not text. Each is one cell wide.
type Glyphs struct {
	ASCII bool

	Waiting, Running, Stopped, Failed, Done string // phases
	Cursor, Mark, Ellipsis, Arrow, Dot      string

	BarFull, BarEmpty string

	Horizontal, Vertical                   string // borders
	TopLeft, TopRight, BottomLeft, BottomR string
	Up, Down                               string
}

var unicode = Glyphs{
	Waiting: "·", Running: "▶", Stopped: "‖", Failed: "✗", Done: "✓",
	Cursor: "›", Mark: "●", Ellipsis: "…", Arrow: "→", Dot: "·",
	BarFull: "█", BarEmpty: "░",
	Horizontal: "─", Vertical: "│", TopLeft: "╭", TopRight: "╮", BottomLeft: "╰", BottomR: "╯",
	Up: "↑", Down: "↓",
}

var ascii = Glyphs{
	ASCII:   true,
	Waiting: ".", Running: ">", Stopped: "=", Failed: "x", Done: "v",
	Cursor: ">", Mark: "*", Ellipsis: "~", Arrow: ">", Dot: "-",
	BarFull: "#", BarEmpty: ".",
	Horizontal: "-", Vertical: "|", TopLeft: "+", TopRight: "+", BottomLeft: "+", BottomR: "+",
	Up: "^", Down: "v",
}

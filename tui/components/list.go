package components

// List is a cursor over lines, of which a window is visible.
type List struct {
	Selected int // index of the selected line
	Top      int // index of the first visible line
	Count    int // number of lines
	Height   int // number of visible lines
}

// SetSize sets the number of lines and the number of visible lines.
func (l *List) SetSize(count, height int) {
	l.Count, l.Height = count, max(1, height)
	l.Move(0)
}

// Move moves the cursor down by n lines and keeps it visible.
func (l *List) Move(n int) { l.MoveTo(l.Selected + n) }

// MoveTo moves the cursor to line i, or to the nearest line that exists.
func (l *List) MoveTo(i int) {
	l.Selected = max(0, min(i, l.Count-1))
	l.Top = max(0, min(l.Top, l.Count-l.Height))
	l.Top = max(min(l.Top, l.Selected), l.Selected-l.Height+1)
}

// Visible returns the range of visible lines.
func (l *List) Visible() (from, to int) { return l.Top, min(l.Count, l.Top+l.Height) }

package components

// List is a cursor over lines, of which a window is visible.
type List struct {
	At     int // the selected line
	Top    int // the first visible line
	Count  int // of all lines
	Height int // how many lines are visible
}

// SetSize sets how many lines there are and how many are visible.
func (l *List) SetSize(count, height int) {
	l.Count, l.Height = count, max(1, height)
	l.Move(0)
}

// Move moves the cursor down by n lines and keeps it visible.
func (l *List) Move(n int) { l.To(l.At + n) }

// To moves the cursor to line i, or to the nearest line that exists.
func (l *List) To(i int) {
	l.At = max(0, min(i, l.Count-1))
	l.Top = max(0, min(l.Top, l.Count-l.Height))
	l.Top = max(min(l.Top, l.At), l.At-l.Height+1)
}

// Visible returns the range of visible lines.
func (l *List) Visible() (from, to int) { return l.Top, min(l.Count, l.Top+l.Height) }

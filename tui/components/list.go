package components

// List is a cursor over lines that may be more than fit.
type List struct {
	At, Top, Count, Height int
}

// SetSize says how many lines are there and how many fit.
func (l *List) SetSize(count, height int) {
	l.Count, l.Height = count, max(1, height)
	l.Move(0)
}

// Move brings the cursor n lines down, or up, and keeps it in view.
func (l *List) Move(n int) { l.To(l.At + n) }

// To brings the cursor to a line.
func (l *List) To(i int) {
	l.At = max(0, min(i, l.Count-1))
	l.Top = max(0, min(l.Top, l.Count-l.Height))
	l.Top = max(min(l.Top, l.At), l.At-l.Height+1)
}

// Visible is the range of lines in view.
func (l *List) Visible() (from, to int) { return l.Top, min(l.Count, l.Top+l.Height) }

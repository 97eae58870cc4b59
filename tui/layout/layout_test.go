package layout

import (
	"strings"
	"testing"
)

// picture draws parts as letters, at a tenth of the width.
func picture(w, h int, parts map[rune]Rect) string {
	grid := make([][]rune, h)
	for y := range grid {
		grid[y] = []rune(strings.Repeat(".", w))
	}
	for name, r := range parts {
		for y := r.Y; y < r.Y+r.H; y++ {
			for x := r.X; x < r.X+r.W; x++ {
				if grid[y][x] != '.' {
					grid[y][x] = '!'
				} else {
					grid[y][x] = name
				}
			}
		}
	}
	var b strings.Builder
	for _, row := range grid {
		b.WriteByte('\n')
		for x := 0; x < w; x += 10 {
			b.WriteRune(row[x])
		}
	}
	return b.String()
}

func (d Dashboard) parts() map[rune]Rect {
	return map[rune]Rect{'s': d.Stages, 'r': d.Rows, 'c': d.Chart, 'i': d.Side, 'g': d.GPUs, 'w': d.Status}
}

func TestDashboard(t *testing.T) {
	for _, c := range []struct {
		w, h, rows, gpus int
		want             string
	}{
		{120, 28, 6, 0, "\n" + strings.Repeat("s", 12) + strings.Repeat("\nrrrrrrrrrrrr", 6) + strings.Repeat("\nccccccccciii", 20) + "\nwwwwwwwwwwww"},
		{80, 22, 7, 0, "\nssssssss" + strings.Repeat("\nrrrrrrrr", 7) + strings.Repeat("\ncccccccc", 13) + "\nwwwwwwww"},
		{80, 22, 30, 0, "\nssssssss" + strings.Repeat("\nrrrrrrrr", 10) + strings.Repeat("\ncccccccc", 10) + "\nwwwwwwww"},
		{120, 28, 6, 2, "\n" + strings.Repeat("s", 12) + strings.Repeat("\nrrrrrrrrrrrr", 6) + strings.Repeat("\nccccccccciii", 19) + "\ngggggggggggg\nwwwwwwwwwwww"},
		{80, 22, 30, 1, "\nssssssss" + strings.Repeat("\nrrrrrrrr", 9) + strings.Repeat("\ncccccccc", 10) + "\ngggggggg\nwwwwwwww"},
		{60, 14, 30, 1, "\nssssss" + strings.Repeat("\nrrrrrr", 12) + "\nwwwwww"},
		{60, 14, 30, 0, "\nssssss" + strings.Repeat("\nrrrrrr", 12) + "\nwwwwww"},
	} {
		if got := picture(c.w, c.h, NewDashboard(c.w, c.h, c.rows, c.gpus).parts()); got != c.want {
			t.Errorf("%dx%d with %d rows:%s\nwant%s", c.w, c.h, c.rows, got, c.want)
		}
	}
}

func (s Study) parts() map[rune]Rect { return map[rune]Rect{'t': s.Table, 'c': s.Chart, 'i': s.Side} }

func TestStudy(t *testing.T) {
	for _, c := range []struct {
		w, h, cells int
		want        string
	}{
		{120, 38, 6, strings.Repeat("\ntttttttttttt", 9) + strings.Repeat("\nccccccccciii", 29)},
		{120, 38, 30, strings.Repeat("\ntttttttttttt", 19) + strings.Repeat("\nccccccccciii", 19)},
		{120, 22, 6, strings.Repeat("\ntttttttttttt", 9) + strings.Repeat("\ncccccccccccc", 13)},
		{80, 22, 12, strings.Repeat("\ntttttttt", 11) + strings.Repeat("\ncccccccc", 11)},
		{60, 14, 6, strings.Repeat("\ntttttt", 14)},
	} {
		if got := picture(c.w, c.h, NewStudy(c.w, c.h, c.cells).parts()); got != c.want {
			t.Errorf("%dx%d with %d cells:%s\nwant%s", c.w, c.h, c.cells, got, c.want)
		}
	}
}

// At every size, the parts must cover the screen and not overlap.
func TestParts(t *testing.T) {
	for w := MinWidth; w <= 250; w++ {
		for h := MinHeight; h <= 80; h++ {
			f := NewFrame(w, h)
			s := NewSplit(w, h, 44)
			for name, parts := range map[string]map[rune]Rect{
				"frame":     {'h': f.Header, 'b': f.Body, 'f': f.Footer},
				"split":     {'m': s.Main, 's': s.Side},
				"dashboard": NewDashboard(w, h, h/3, h%3).parts(),
				"study":     NewStudy(w, h, h/3).parts(),
			} {
				area := 0
				for _, r := range parts {
					if r.Empty() {
						continue
					}
					area += r.W * r.H
					if r.X < 0 || r.Y < 0 || r.X+r.W > w || r.Y+r.H > h {
						t.Fatalf("%s of %dx%d: %+v is outside", name, w, h, r)
					}
				}
				if area != w*h {
					t.Fatalf("%s of %dx%d: the parts have %d cells of %d", name, w, h, area, w*h)
				}
			}
		}
	}
}

func TestTooSmall(t *testing.T) {
	if got, want := TooSmall(40, 10), "screen 40x10, need 60x16"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := TooSmall(60, 16); got != "" {
		t.Errorf("60x16: %q, want no message", got)
	}
}

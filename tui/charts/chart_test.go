package charts

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"
)

func ramp(n int, f func(i int) float64) []Point {
	ps := make([]Point, n)
	for i := range ps {
		ps[i] = Point{float64(i), f(i)}
	}
	return ps
}

// TestPicture compares a chart with the expected text.
func TestPicture(t *testing.T) {
	got := Render([]Series{
		{Name: "falls", Mark: 'o', Points: []Point{{1, 4}, {3, 2}, {5, 0}}},
		{Name: "rises", Mark: 'x', Points: []Point{{1, 0}, {5, 4}}},
		{Name: "paper", Mark: '-', Points: []Point{{0, 3}}, Level: true},
	}, Options{Width: 24, Height: 10, XLabel: "epoch", Focus: -1, ASCII: true})
	want := `
4.0|ooo              xxx
   |--ooooo------xxxxx--
   |      oooxxxxx
1.6|     xxxxxoooo
   | xxxxx       ooooo
   |xx               ooo
   +--------------------
    1      epoch       5
o falls 0  x rises 4
- paper 3`
	if got := "\n" + trimmed(got); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func trimmed(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// A single spike among 5,000 points must be drawn in its column, at full height.
func TestSpike(t *testing.T) {
	for _, at := range []int{0, 1, 2500, 3333, 4998, 4999} {
		for _, sign := range []float64{1, -1} {
			points := ramp(5000, func(i int) float64 {
				if i == at {
					return 100 * sign
				}
				return 1
			})
			const width = 60
			lines := strings.Split(Render([]Series{{Name: "loss", Mark: '#', Points: points}},
				Options{Width: width, Height: 12, Focus: -1}), "\n")
			row := lines[0]
			if sign < 0 {
				row = lines[12-1-3] // above the axis, its labels and the legend
			}
			axis := strings.IndexAny(row, "┤│")
			cells := []rune(row[axis:])[1:]
			want := int(math.Round(float64(at) / 4999 * float64(len(cells)-1)))
			near := string(cells[max(0, want-1) : want+1])
			if !strings.Contains(near, "#") {
				t.Errorf("spike %+g at %d: not at column %d of %q", sign, at, want, string(cells))
			}
			if n := strings.Count(string(cells), "#"); n > 3 {
				t.Errorf("spike %+g at %d: %d marks at its height, want the spike alone", sign, at, n)
			}
		}
	}
}

// A curve of 60 epochs must end at epoch 60 of an axis of 200 epochs.
func TestSharedAxis(t *testing.T) {
	short, long := ramp(61, func(int) float64 { return 1 }), ramp(201, func(int) float64 { return 0 })
	lines := strings.Split(Render([]Series{{Name: "a", Mark: 'a', Points: short}, {Name: "b", Mark: 'b', Points: long}},
		Options{Width: 104, Height: 8, Focus: -1, ASCII: true}), "\n")
	_, cells, _ := strings.Cut(lines[0], "|")
	if got, want := strings.LastIndexByte(cells, 'a'), 60*(len(cells)-1)/200; got < want-1 || got > want+1 {
		t.Errorf("the series of 60 ends in column %d of %d, want %d", got, len(cells), want)
	}
}

func TestNotFinite(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for name, points := range map[string][]Point{
		"empty":    nil,
		"NaN":      {{1, nan}, {2, nan}},
		"Inf":      {{1, inf}, {2, -inf}},
		"X":        {{nan, 1}, {inf, 1}},
		"one":      {{1, 1}},
		"huge":     {{-math.MaxFloat64, -math.MaxFloat64}, {math.MaxFloat64, math.MaxFloat64}},
		"tiny":     {{0, 5e-324}, {5e-324, 0}},
		"mixed":    {{1, nan}, {2, 1}, {3, inf}, {4, 2}},
		"negative": {{1, -1}, {2, -2}},
	} {
		for _, o := range []Options{{}, {Log: true}, {Smooth: 0.9}, {From: 1, To: 2}, {Focus: -1}} {
			o.Width, o.Height = 40, 10
			check(t, name, []Series{{Name: "s", Points: points}}, o)
		}
	}
	got := Render([]Series{{Name: "s", Points: []Point{{1, nan}, {2, 1}, {3, inf}}}}, Options{Width: 40, Height: 8})
	if !strings.Contains(got, "s 1 (2 not drawn)") {
		t.Errorf("the legend does not count the two values that are not finite:\n%s", got)
	}
}

// check renders a chart and verifies what must hold for all charts.
func check(t *testing.T, name string, series []Series, o Options) {
	t.Helper()
	got := Render(series, o)
	lines := strings.Split(got, "\n")
	if len(lines) > max(1, o.Height) {
		t.Errorf("%s: %d lines, want at most %d", name, len(lines), o.Height)
	}
	for _, l := range lines {
		if w := ansi.StringWidth(l); w > max(0, o.Width) {
			t.Errorf("%s: a line of %d cells, want at most %d: %q", name, w, o.Width, l)
		}
		if o.ASCII && strings.ContainsFunc(ansi.Strip(l), func(r rune) bool { return r > 126 }) {
			t.Errorf("%s: not ASCII: %q", name, l)
		}
	}
}

func TestSizes(t *testing.T) {
	series := []Series{
		{Name: "module-1", Points: ramp(100, func(i int) float64 { return math.Exp(-float64(i) / 20) })},
		{Name: "a series with a long name that goes on and on", Points: ramp(10, func(i int) float64 { return float64(i) })},
	}
	for w := -1; w <= 130; w += 3 {
		for h := -1; h <= 40; h++ {
			check(t, fmt.Sprintf("%dx%d", w, h), series, Options{Width: w, Height: h, XLabel: "epoch", ASCII: true})
		}
	}
}

func TestManyPoints(t *testing.T) {
	points := ramp(1e6, func(i int) float64 { return math.Sin(float64(i) / 1e4) })
	check(t, "1e6 points", []Series{{Name: "s", Points: points}}, Options{Width: 120, Height: 20})
}

func TestLog(t *testing.T) {
	points := ramp(4, func(i int) float64 { return math.Pow(10, float64(i)) })
	lines := strings.Split(Render([]Series{{Name: "s", Mark: 's', Points: points}}, Options{Width: 30, Height: 10, Log: true, Focus: -1, ASCII: true}), "\n")
	// 1, 10, 100, 1000 are on a straight line: rows at equal distances.
	for r, want := range map[int]string{0: "1e+03", 6: "1"} {
		if got, _, _ := strings.Cut(lines[r], "|"); strings.TrimSpace(got) != want {
			t.Errorf("row %d is labelled %q, want %q", r, got, want)
		}
	}
}

func TestCursor(t *testing.T) {
	a := Series{Name: "a", Points: []Point{{1, 10}, {2, 20}, {4, math.NaN()}, {5, 50}}}
	b := Series{Name: "b", Points: []Point{{3, 7}}}
	if got, want := fmt.Sprint(Xs([]Series{a, b})), "[1 2 3 5]"; got != want {
		t.Errorf("stops %s, want %s", got, want)
	}
	x := 4.0
	got := ansi.Strip(Render([]Series{a, b}, Options{Width: 40, Height: 8, XLabel: "epoch", Cursor: &x}))
	if !strings.Contains(got, "epoch 4:  ─ a 20 (1 not drawn)  o b 7") {
		t.Errorf("the legend does not read the values at the cursor:\n%s", got)
	}
	if v := b.At(2); !math.IsNaN(v) {
		t.Errorf("b before its first point is %g, want NaN", v)
	}
}

func TestSmooth(t *testing.T) {
	p := prepare([]Series{{Points: []Point{{1, 0}, {2, 1}, {3, 1}}}}, Options{Width: 20, Height: 8, Smooth: 0.5})
	if got, want := fmt.Sprint(p.series[0].points), "[{1 0} {2 0.5} {3 0.75}]"; got != want {
		t.Errorf("smoothed %s, want %s", got, want)
	}
}

func FuzzRender(f *testing.F) {
	f.Add(40, 10, 1.0, math.NaN(), 3.0, math.Inf(1), 0.0, 0.0, false, false, 0.5)
	f.Add(17, 4, -1e308, 1e308, 1e308, -1e308, -1.0, 1.0, true, true, 0.0)
	f.Fuzz(func(t *testing.T, w, h int, a, b, c, d, from, to float64, log, ascii bool, smooth float64) {
		if w > 300 || h > 100 {
			t.Skip()
		}
		cursor := b
		check(t, "fuzz", []Series{
			{Name: "s", Points: []Point{{a, b}, {c, d}, {d, a}}},
			{Name: "t", Points: []Point{{b, c}}},
			{Name: "u", Points: []Point{{d, d}}, Level: true},
		}, Options{Width: w, Height: h, XLabel: "x", Log: log, ASCII: ascii, From: from, To: to, Smooth: smooth, Cursor: &cursor})
	})
}

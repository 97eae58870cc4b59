// Package picture turns a terminal screen into an SVG image, so that a page can
// show the workbench as it is.
//
//	svg := picture.SVG(screen, "hatchery", "A run with four modules in training.")
//
// The image needs no particular font: text is stretched to the width of its
// cells, and glyphs that must join, or that many fonts lack, are shapes.
package picture

import (
	"fmt"
	"html"
	"image/color"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	uv "github.com/charmbracelet/ultraviolet"
	"github.com/charmbracelet/x/ansi"
)

// Lengths are in pixels of the image at its full size.
const (
	cellW, cellH = 9, 18
	fontSize     = 15 // most monospaced fonts are 0.6 em wide, as cells are
	baseline     = 14 // below the top of a cell
	margin       = 18
	titleBar     = 36
)

// The terminal's default colours.
const (
	foreground = "#dfe3ea"
	background = "#171a21"
)

// The ways to paint a shape in a colour.
const (
	line  = `fill="none" stroke="%s"`
	area  = `fill="%s"`
	shade = `fill="%s" fill-opacity="0.25"`
)

// shapes are the glyphs that are drawn as paths from the top left corner of a
// cell. W is the width of a run of them.
var shapes = map[rune]struct{ paint, path string }{
	'─': {line, "m0 9hW"}, '│': {line, "m4.5 0v18"}, '┊': {line, "m4.5 2v5m0 4v5"},
	'└': {line, "m4.5 0v9h4.5"}, '┤': {line, "m0 9h4.5m0-9v18"},
	'╭': {line, "m9 9q-4.5 0-4.5 4.5v4.5"}, '╮': {line, "m0 9q4.5 0 4.5 4.5v4.5"},
	'╰': {line, "m9 9q-4.5 0-4.5-4.5v-4.5"}, '╯': {line, "m0 9q4.5 0 4.5-4.5v-4.5"},
	'█': {area, "m0 2hWv14h-Wz"}, '░': {shade, "m0 2hWv14h-Wz"}, '▶': {area, "m1.5 4.5l6.5 4.5-6.5 4.5z"},
	'✓': {line, "m1 10l2.5 3 4.5-8"}, '✗': {line, "m1.5 5.5l6 7m0-7l-6 7"},
}

// pieces finds what is drawn as one: a run of equal shapes, words of ASCII that
// single spaces separate, and any other glyph alone, since it may come from
// another font.
var pieces = regexp.MustCompile(`─+|█+|░+|[!-~]+(?: [!-~]+)*|[^ ]\pM*`)

// SVG draws a screen: lines of text with colours, bold, faint and reverse as
// ANSI sequences. title and description are for people who cannot see the image.
func SVG(screen, title, description string) string {
	d := drawing{paths: map[string]*strings.Builder{}}
	lines := uv.NewStyledString(screen).Lines(ansi.GraphemeWidth)
	columns := 0
	for row, cells := range lines {
		columns = max(columns, d.row(row, cells))
	}
	w, h := columns*cellW+2*margin, len(lines)*cellH+titleBar+margin

	var svg strings.Builder
	fmt.Fprintf(&svg, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img" aria-labelledby="title description">`+"\n", w, h)
	fmt.Fprintf(&svg, `<title id="title">%s</title>`+"\n"+`<desc id="description">%s</desc>`+"\n", html.EscapeString(title), html.EscapeString(description))
	fmt.Fprintf(&svg, `<rect x="0.5" y="0.5" width="%d" height="%d" rx="10" fill="%s" stroke="#454c59"/>`+"\n", w-1, h-1, background)
	for i, fill := range []string{"#f07178", "#e5c07b", "#7ec77b"} {
		fmt.Fprintf(&svg, `<circle cx="%d" cy="%d" r="5.5" fill="%s"/>`+"\n", margin+6+i*20, titleBar/2, fill)
	}
	fmt.Fprintf(&svg, `<g transform="translate(%d %d)">`+"\n%s"+`<g stroke-width="1.4">`+"\n", margin, titleBar, d.under.String())
	for _, look := range d.looks {
		fmt.Fprintf(&svg, `<path %s d="%s"/>`+"\n", look, d.paths[look])
	}
	fmt.Fprintf(&svg, `</g>`+"\n"+`<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="%d" xml:space="preserve">`+"\n%s</g>\n</g>\n</svg>", fontSize, d.text.String())
	return svg.String()
}

// drawing holds the layers of an image: backgrounds below shapes below text.
type drawing struct {
	under strings.Builder
	looks []string // attributes of the paths, in the order in which they were first needed
	paths map[string]*strings.Builder
	text  strings.Builder
}

// row draws a row of the screen and returns its width in cells.
func (d *drawing) row(y int, cells uv.Line) int {
	x := 0
	for len(cells) > 0 {
		n, text := 0, ""
		for ; n < len(cells) && cells[n].Style.Equal(&cells[0].Style); n++ {
			text += cells[n].Content
		}
		d.run(x, y, text, cells[0].Style)
		x += ansi.StringWidth(text)
		cells = cells[n:]
	}
	return x
}

// run draws text of one style.
func (d *drawing) run(x, y int, text string, style uv.Style) {
	fg, bg := hex(style.Fg, foreground), hex(style.Bg, "")
	if style.Attrs&uv.AttrReverse != 0 {
		fg, bg = hex(style.Bg, background), fg
	}
	if bg != "" {
		fmt.Fprintf(&d.under, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`+"\n", x*cellW, y*cellH, ansi.StringWidth(text)*cellW, cellH, bg)
	}
	look := ""
	if style.Attrs&uv.AttrFaint != 0 {
		look = ` opacity="0.6"`
	}
	for _, at := range pieces.FindAllStringIndex(text, -1) {
		piece := text[at[0]:at[1]]
		left, w := (x+ansi.StringWidth(text[:at[0]]))*cellW, ansi.StringWidth(piece)*cellW
		first, _ := utf8.DecodeRuneInString(piece)
		if s, ok := shapes[first]; ok {
			d.shape(fmt.Sprintf(s.paint, fg)+look, fmt.Sprintf("M%d %d", left, y*cellH)+strings.ReplaceAll(s.path, "W", strconv.Itoa(w)))
			continue
		}
		weight := ""
		if style.Attrs&uv.AttrBold != 0 {
			weight = ` font-weight="bold"`
		}
		fmt.Fprintf(&d.text, `<text x="%d" y="%d" textLength="%d" fill="%s"%s%s>%s</text>`+"\n", left, y*cellH+baseline, w, fg, weight, look, html.EscapeString(piece))
	}
}

// shape adds to the path of a look.
func (d *drawing) shape(look, path string) {
	if d.paths[look] == nil {
		d.looks = append(d.looks, look)
		d.paths[look] = &strings.Builder{}
	}
	d.paths[look].WriteString(path)
}

// hex returns the colour in SVG's notation, or none if there is no colour.
func hex(c color.Color, none string) string {
	if c == nil {
		return none
	}
	r, g, b, _ := c.RGBA()
	return fmt.Sprintf("#%02x%02x%02x", r>>8, g>>8, b>>8)
}

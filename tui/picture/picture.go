// Package picture turns a terminal screen into an SVG image, so that a page can
// show the workbench as it is.
//
//	svg := picture.SVG(screen, "hatchery", "A run with four modules in training.")
//
// The image does not depend on a font: text is stretched to the width of its cells, and
// glyphs that must join, or that many fonts lack, are drawn as paths.
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
	fontSize     = 15 // cells are 0.6 em wide, as the glyphs of most monospaced fonts
	baseline     = 14 // below the top of a cell
	margin       = 18
	titleBar     = 36
)

// The terminal's default colours.
const (
	foreground = "#dfe3ea"
	background = "#171a21"
)

// Attributes of a path, with its colour.
const (
	line  = `fill="none" stroke="%s"`
	area  = `fill="%s"`
	shade = `fill="%s" fill-opacity="0.25"`
)

// shapes maps the glyphs that are drawn as paths to these paths, which start at the top
// left corner of a cell. W stands for the width of a sequence of equal glyphs.
var shapes = map[rune]struct{ paint, path string }{
	'─': {line, "m0 9hW"}, '│': {line, "m4.5 0v18"}, '┊': {line, "m4.5 2v5m0 4v5"},
	'└': {line, "m4.5 0v9h4.5"}, '┤': {line, "m0 9h4.5m0-9v18"},
	'╭': {line, "m9 9q-4.5 0-4.5 4.5v4.5"}, '╮': {line, "m0 9q4.5 0 4.5 4.5v4.5"},
	'╰': {line, "m9 9q-4.5 0-4.5-4.5v-4.5"}, '╯': {line, "m0 9q4.5 0 4.5-4.5v-4.5"},
	'█': {area, "m0 2hWv14h-Wz"}, '░': {shade, "m0 2hWv14h-Wz"}, '▶': {area, "m1.5 4.5l6.5 4.5-6.5 4.5z"},
	'✓': {line, "m1 10l2.5 3 4.5-8"}, '✗': {line, "m1.5 5.5l6 7m0-7l-6 7"},
}

// pieces matches the parts of a text that are drawn as one element: equal shapes, ASCII
// words separated by single spaces, and any other glyph alone, because it may come from
// another font.
var pieces = regexp.MustCompile(`─+|█+|░+|[\x21-\x7e]+(?: [\x21-\x7e]+)*|[^ ]\pM*`)

// SVG returns an image of a screen: lines of text with ANSI sequences for colours, bold,
// faint and reverse. title and description are for people who cannot see the image.
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
	fmt.Fprintf(&svg, `<g transform="translate(%d %d)">`+"\n%s"+`<g stroke-width="1.4">`+"\n", margin, titleBar, d.backgrounds.String())
	for _, attributes := range d.order {
		fmt.Fprintf(&svg, `<path %s d="%s"/>`+"\n", attributes, d.paths[attributes])
	}
	fmt.Fprintf(&svg, `</g>`+"\n"+`<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="%d" xml:space="preserve">`+"\n%s</g>\n</g>\n</svg>", fontSize, d.text.String())
	return svg.String()
}

// drawing holds the layers of an image: backgrounds below paths below text.
type drawing struct {
	backgrounds strings.Builder
	order       []string                    // keys of paths, in the order of their first use
	paths       map[string]*strings.Builder // by attributes
	text        strings.Builder
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
		fmt.Fprintf(&d.backgrounds, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`+"\n", x*cellW, y*cellH, ansi.StringWidth(text)*cellW, cellH, bg)
	}
	opacity := ""
	if style.Attrs&uv.AttrFaint != 0 {
		opacity = ` opacity="0.6"`
	}
	for _, span := range pieces.FindAllStringIndex(text, -1) {
		piece := text[span[0]:span[1]]
		left, w := (x+ansi.StringWidth(text[:span[0]]))*cellW, ansi.StringWidth(piece)*cellW
		first, _ := utf8.DecodeRuneInString(piece)
		if s, ok := shapes[first]; ok {
			d.path(fmt.Sprintf(s.paint, fg)+opacity, fmt.Sprintf("M%d %d", left, y*cellH)+strings.ReplaceAll(s.path, "W", strconv.Itoa(w)))
			continue
		}
		weight := ""
		if style.Attrs&uv.AttrBold != 0 {
			weight = ` font-weight="bold"`
		}
		fmt.Fprintf(&d.text, `<text x="%d" y="%d" textLength="%d" fill="%s"%s%s>%s</text>`+"\n", left, y*cellH+baseline, w, fg, weight, opacity, html.EscapeString(piece))
	}
}

// path appends to the path with the given attributes.
func (d *drawing) path(attributes, path string) {
	if d.paths[attributes] == nil {
		d.order = append(d.order, attributes)
		d.paths[attributes] = &strings.Builder{}
	}
	d.paths[attributes].WriteString(path)
}

// hex returns a colour in SVG's notation, or fallback if c is nil.
func hex(c color.Color, fallback string) string {
	if c == nil {
		return fallback
	}
	r, g, b, _ := c.RGBA()
	return fmt.Sprintf("#%02x%02x%02x", r>>8, g>>8, b>>8)
}

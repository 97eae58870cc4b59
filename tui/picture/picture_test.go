package picture

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestSVG(t *testing.T) {
	for _, c := range []struct {
		name, screen string
		want         []string
	}{
		{"each column has its place", "a b  c", []string{
			`<text x="0" y="14" textLength="27" fill="#dfe3ea">a b</text>`, `<text x="45" y="14" textLength="9" fill="#dfe3ea">c</text>`}},
		{"lines", "a\n\nb", []string{`width="45" height="108"`, `<text x="0" y="50" textLength="9" fill="#dfe3ea">b</text>`}},
		{"wide glyphs take two cells", "世e\u0301x", []string{
			`textLength="18" fill="#dfe3ea">世<`, `<text x="27" y="14" textLength="9" fill="#dfe3ea">x<`}},
		{"glyphs of other fonts stand alone", "a→b", []string{
			`<text x="9" y="14" textLength="9" fill="#dfe3ea">→<`, `<text x="18" y="14" textLength="9" fill="#dfe3ea">b<`}},
		{"markup", `<&"`, []string{`<text x="0" y="14" textLength="27" fill="#dfe3ea">&lt;&amp;&#34;</text>`}},
		{"colours", "\x1b[38;2;1;2;3;48;2;4;5;6mx", []string{
			`<rect x="0" y="0" width="9" height="18" fill="#040506"/>`, `fill="#010203">x<`}},
		{"a style ends", "\x1b[1;38;2;1;2;3ma\x1b[mb", []string{`fill="#010203" font-weight="bold">a<`, `<text x="9" y="14" textLength="9" fill="#dfe3ea">b<`}},
		{"faint", "\x1b[2mx", []string{`opacity="0.6">x<`}},
		{"reverse", "\x1b[7m x ", []string{`<rect x="0" y="0" width="27" height="18" fill="#dfe3ea"/>`, `<text x="9" y="14" textLength="9" fill="#171a21">x<`}},
		{"reverse with colours", "\x1b[7;38;2;1;2;3;48;2;4;5;6mx", []string{`height="18" fill="#010203"/>`, `fill="#040506">x<`}},
		{"borders join", "╭──╮\n│", []string{
			`<path fill="none" stroke="#dfe3ea" d="M0 0m9 9q-4.5 0-4.5 4.5v4.5M9 0m0 9h18M27 0m0 9q4.5 0 4.5 4.5v4.5M0 18m4.5 0v18"/>`}},
		{"bars join", "██░░", []string{
			`<path fill="#dfe3ea" d="M0 0m0 2h18v14h-18z"/>`, `<path fill="#dfe3ea" fill-opacity="0.25" d="M18 0m0 2h18v14h-18z"/>`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			svg := SVG(c.screen, "title", "a <b> & c")
			for _, want := range append(c.want, "<title id=\"title\">title</title>", "a &lt;b&gt; &amp; c</desc>") {
				if !strings.Contains(svg, want) {
					t.Errorf("no %s in\n%s", want, svg)
				}
			}
			for d := xml.NewDecoder(strings.NewReader(svg)); ; {
				if _, err := d.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatalf("%v in\n%s", err, svg)
				}
			}
		})
	}
}

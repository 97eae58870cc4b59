package theme

import (
	"reflect"
	"strings"
	"testing"

	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/ansi"
)

func TestNoColor(t *testing.T) {
	base := []string{"TERM=xterm-256color", "COLORTERM=truecolor", "TTY_FORCE=1"}
	for value, want := range map[string]colorprofile.Profile{
		"": colorprofile.TrueColor, "1": colorprofile.ASCII, "0": colorprofile.ASCII, "false": colorprofile.ASCII, "yes": colorprofile.ASCII,
	} {
		var out strings.Builder
		if got := Profile(&out, append(base, "NO_COLOR="+value)); got != want {
			t.Errorf("NO_COLOR=%q: profile %v, want %v", value, got, want)
		}
	}
}

func TestLightBackground(t *testing.T) {
	for value, want := range map[string]bool{"": false, "0;15": true, "15;0": false, "0;default;15": true, "7;8": false, "x": false} {
		if got := LightBackground([]string{"COLORFGBG=" + value}); got != want {
			t.Errorf("COLORFGBG=%q: light %v, want %v", value, got, want)
		}
	}
}

func TestNeedsASCII(t *testing.T) {
	for want, envs := range map[bool][][]string{
		true:  {{"LANG=C"}, {"LANG=en_US.UTF-8", "LC_ALL=POSIX"}},
		false: {nil, {"LANG=en_US.UTF-8"}, {"LANG=C.utf8"}, {"LANG=C", "LC_CTYPE=de_DE.UTF-8"}},
	} {
		for _, env := range envs {
			if got := NeedsASCII(env); got != want {
				t.Errorf("%v: %v, want %v", env, got, want)
			}
		}
	}
}

// Every glyph must be one cell wide, so that columns stay aligned.
func TestGlyphs(t *testing.T) {
	for _, g := range []Glyphs{unicode, ascii} {
		v := reflect.ValueOf(g)
		for i := range v.NumField() {
			s, ok := reflect.TypeAssert[string](v.Field(i))
			if ok && (ansi.StringWidth(s) != 1 || g.ASCII && (s[0] > 126 || len(s) != 1)) {
				t.Errorf("%s is %q", v.Type().Field(i).Name, s)
			}
		}
	}
}

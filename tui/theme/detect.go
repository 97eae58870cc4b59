package theme

import (
	"io"
	"strconv"
	"strings"

	"github.com/charmbracelet/colorprofile"
)

// Profile is how many colours to use on a terminal. NO_COLOR with any value
// but the empty one means none (no-color.org).
func Profile(out io.Writer, env []string) colorprofile.Profile {
	p := colorprofile.Detect(out, env)
	if lookup(env, "NO_COLOR") != "" && p > colorprofile.ASCII {
		return colorprofile.ASCII
	}
	return p
}

// LightBackground guesses from COLORFGBG, which some terminals set to
// "foreground;background" as numbers of the 16 colours. A terminal that
// answers questions is asked as well, but nobody waits for it.
func LightBackground(env []string) bool {
	fields := strings.Split(lookup(env, "COLORFGBG"), ";")
	n, err := strconv.Atoi(fields[len(fields)-1])
	return err == nil && (n == 7 || n > 8 && n < 16)
}

// NeedsASCII guesses from the locale whether only ASCII can be shown.
func NeedsASCII(env []string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := lookup(env, name); v != "" {
			v = strings.ToLower(v)
			return !strings.Contains(v, "utf-8") && !strings.Contains(v, "utf8")
		}
	}
	return false
}

// Dumb says whether the terminal cannot place a cursor.
func Dumb(env []string) bool { return lookup(env, "TERM") == "dumb" }

func lookup(env []string, name string) string {
	value := ""
	for _, kv := range env {
		if k, v, ok := strings.Cut(kv, "="); ok && k == name {
			value = v
		}
	}
	return value
}

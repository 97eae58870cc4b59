package theme

import (
	"io"
	"strconv"
	"strings"

	"github.com/charmbracelet/colorprofile"
)

// Profile returns the colour profile of a terminal. If NO_COLOR is set and not empty, it
// has no colours (https://no-color.org).
func Profile(out io.Writer, env []string) colorprofile.Profile {
	p := colorprofile.Detect(out, env)
	if lookup(env, "NO_COLOR") != "" && p > colorprofile.ASCII {
		return colorprofile.ASCII
	}
	return p
}

// LightBackground guesses from COLORFGBG whether the background is light. Some terminals
// set it to "foreground;background", numbers of the 16 colours. The app also asks the
// terminal, whose answer comes later, if at all.
func LightBackground(env []string) bool {
	fields := strings.Split(lookup(env, "COLORFGBG"), ";")
	n, err := strconv.Atoi(fields[len(fields)-1])
	return err == nil && (n == 7 || n > 8 && n < 16)
}

// NeedsASCII guesses from the locale whether the terminal can show only ASCII.
func NeedsASCII(env []string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := lookup(env, name); v != "" {
			v = strings.ToLower(v)
			return !strings.Contains(v, "utf-8") && !strings.Contains(v, "utf8")
		}
	}
	return false
}

// Dumb reports whether the terminal cannot move its cursor.
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

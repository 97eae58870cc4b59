package runs

import (
	"crypto/rand"
	"fmt"
	"strings"
	"time"
)

// maxName is the longest run id or stage name. It leaves room for what file
// systems and job schedulers add.
const maxName = 100

// NewID makes an id for a run of the given name, such as
// "quickstart-20260131-142301-k3ft": in lists runs of a name sort by their
// start, and the end tells apart those of the same second.
func NewID(name string, now time.Time) string {
	clean := strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
			return c
		case c >= 'A' && c <= 'Z':
			return c + 'a' - 'A'
		}
		return '-'
	}, name)
	clean = strings.Trim(clean, "-._")
	if clean == "" {
		clean = "run"
	}
	// Two processes must not draw the same, so this is no random number of
	// the experiment.
	suffix := strings.ToLower(rand.Text()[:4])
	const stamp = "-20060102-150405-"
	return clean[:min(len(clean), maxName-len(stamp)-len(suffix))] + now.UTC().Format(stamp) + suffix
}

// checkName refuses names that are not safe as a file name or the name of a
// job on every system.
func checkName(what, name string) error {
	safe := name != "" && len(name) <= maxName && name[0] != '.' && name[0] != '-'
	for _, c := range name {
		safe = safe && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.')
	}
	if !safe {
		return fmt.Errorf("runs: %s %q: want 1 to %d of the characters a-z A-Z 0-9 . _ - and not . or - at the beginning", what, name, maxName)
	}
	return nil
}

package runs

import (
	"crypto/rand"
	"fmt"
	"strings"
	"time"
)

// maxName is the length of the longest run id or stage name. It leaves room for the
// suffixes that files and jobs get.
const maxName = 100

// NewID returns an id for a run of the given name, such as
// "quickstart-20260131-142301-k3ft". Runs of the same name sort by their start time; the
// random suffix tells apart those that start in the same second.
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
	// Two processes must not get the same suffix, so it does not come from the
	// experiment's seed.
	suffix := strings.ToLower(rand.Text()[:4])
	const stamp = "-20060102-150405-"
	return clean[:min(len(clean), maxName-len(stamp)-len(suffix))] + now.UTC().Format(stamp) + suffix
}

// checkName returns an error if name is not safe as a file name and a job name on every
// system.
func checkName(kind, name string) error {
	safe := name != "" && len(name) <= maxName && name[0] != '.' && name[0] != '-'
	for _, c := range name {
		safe = safe && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.')
	}
	if !safe {
		return fmt.Errorf("runs: %s %q: want 1 to %d of the characters a-z A-Z 0-9 . _ -, the first of them neither . nor -", kind, name, maxName)
	}
	return nil
}

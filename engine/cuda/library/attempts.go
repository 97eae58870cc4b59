package library

import (
	"fmt"
	"strings"
)

// Attempts records the failed attempts of a search, for its error.
type Attempts struct {
	failed, empty []string
	missing       int
}

// Failed records a library that exists but cannot be used.
func (a *Attempts) Failed(reason string) { a.failed = append(a.failed, reason) }

// Empty records a folder without the library.
func (a *Attempts) Empty(folder string) { a.empty = append(a.empty, folder) }

// Missing counts a file or folder that does not exist.
func (a *Attempts) Missing() { a.missing++ }

// String lists what exists and counts the rest.
func (a *Attempts) String() string {
	parts := append([]string(nil), a.failed...)
	if len(a.empty) > 0 {
		parts = append(parts, "not in "+strings.Join(a.empty, ", "))
	}
	switch {
	case a.missing == 1:
		parts = append(parts, "1 other place does not exist")
	case a.missing > 1:
		parts = append(parts, fmt.Sprintf("%d other places do not exist", a.missing))
	}
	return strings.Join(parts, "; ")
}

package library

import (
	"fmt"
	"strings"
)

// Tried is what a search has seen so far, for its error.
type Tried struct {
	failed, empty []string
	missing       int
}

// Failed notes something that is there but cannot be used.
func (t *Tried) Failed(why string) { t.failed = append(t.failed, why) }

// Empty notes a place that is there but does not have the library.
func (t *Tried) Empty(place string) { t.empty = append(t.empty, place) }

// Missing notes a place that does not exist.
func (t *Tried) Missing() { t.missing++ }

// String names what is there and counts the rest.
func (t *Tried) String() string {
	parts := append([]string(nil), t.failed...)
	if len(t.empty) > 0 {
		parts = append(parts, "not in "+strings.Join(t.empty, ", "))
	}
	switch {
	case t.missing == 1:
		parts = append(parts, "1 other place does not exist")
	case t.missing > 1:
		parts = append(parts, fmt.Sprintf("%d other places do not exist", t.missing))
	}
	return strings.Join(parts, "; ")
}

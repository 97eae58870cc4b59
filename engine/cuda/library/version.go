package library

import (
	"cmp"
	"strings"
)

// compareVersions compares names with the numbers in them by value, so that cuda-12.9 comes
// before cuda-12.10.
func compareVersions(a, b string) int {
	for a != "" && b != "" {
		if x, y := number(a), number(b); x != "" && y != "" {
			a, b = a[len(x):], b[len(y):]
			x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			if c := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)); c != 0 {
				return c
			}
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

// number returns the digits with which s begins.
func number(s string) string { return s[:len(s)-len(strings.TrimLeft(s, "0123456789"))] }

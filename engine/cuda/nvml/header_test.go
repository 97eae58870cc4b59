//go:build gpu

package nvml

import (
	"testing"

	"hatchery/engine/cuda/headers"
)

// TestHeader compares the numbers, the structs and the functions that are
// declared here with NVML's.
func TestHeader(t *testing.T) {
	headers.Each(t, func(t *testing.T, _ int, include string) {
		declarations, err := headers.Declarations("declared.h")
		if err != nil {
			t.Fatal(err)
		}
		calls, err := headers.Calls("calls.c")
		if err != nil {
			t.Fatal(err)
		}
		headers.Compare(t, include, `
#include <nvml.h>
#include "calls.h"
#include "declared.h"
`+declarations+calls)
	})
}

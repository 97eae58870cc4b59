//go:build gpu

package nvml

import (
	"testing"

	"hatchery/engine/cuda/headers"
)

// TestHeader compares the numbers, the structs and the functions that are
// declared here with NVML's.
func TestHeader(t *testing.T) {
	headers.CompareLibrary(t, "declared.h", "calls.c", `
#include <nvml.h>
#include "calls.h"
#include "declared.h"
`, "")
}

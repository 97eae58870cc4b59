package limits

import (
	"math"
	"runtime/debug"
	"testing"
)

// The ceiling is the runtime's limit where that is set below the machine's memory.
func TestCeiling(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(100 << 20))
	if got := Ceiling(); got != 100<<20 {
		t.Errorf("with a memory limit of 100 MiB the ceiling is %d", got)
	}
	debug.SetMemoryLimit(math.MaxInt64)
	want := int64(math.MaxInt64)
	if machine := machineMemory(); machine > 0 {
		want = machine
	}
	if got := Ceiling(); got != want {
		t.Errorf("without a memory limit the ceiling is %d, want %d", got, want)
	}
}

package emulation

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hatchery/engine/cuda/library"
)

// Install puts a copy of the stand-in libraries at each path, for tests of how
// the real ones are found. Copies, since ld.so takes links to a file that is
// open for the same library. The test is skipped on a real card.
func Install(t testing.TB, paths ...string) {
	t.Helper()
	if Real() {
		t.Skip("about the emulation, not the card")
	}
	Start(t)
	b, err := os.ReadFile(os.Getenv(variables[0]))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// Environment is that of this process without whatever leads to NVIDIA's
// libraries, and with what is given, for a process that looks for them.
func Environment(with ...string) []string {
	hidden := append(library.Variables(), "HOME")
	env := slices.DeleteFunc(os.Environ(), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		return slices.Contains(hidden, name)
	})
	return append(env, with...)
}

package emulation

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hatchery/engine/cuda/library"
)

// Install puts a copy of the stand-in libraries at each path, for tests of the search for
// libraries. It makes copies because ld.so treats links to an open file as the same library.
// On a real card it skips the test.
func Install(t testing.TB, paths ...string) {
	t.Helper()
	if OnCard() {
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

// Environment returns the environment of this process without the variables that lead to
// NVIDIA's libraries, plus the given ones, for a process that searches for libraries.
func Environment(with ...string) []string {
	hidden := append(library.Variables(), "HOME")
	env := slices.DeleteFunc(os.Environ(), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		return slices.Contains(hidden, name)
	})
	return append(env, with...)
}

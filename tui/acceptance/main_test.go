// Package acceptance_test starts the program as users do: from scripts, in a
// terminal, over SSH, and as jobs of a Slurm cluster.
package acceptance_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run builds the program, makes it the first hatchery in PATH, and runs the tests.
func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "hatchery-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "hatchery"), "hatchery").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	if err := os.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

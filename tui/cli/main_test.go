package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

func TestMain(m *testing.M) {
	// A run that a test leaves in a process of its own starts this program again,
	// and need not get far.
	if len(os.Args) > 1 && os.Args[1] == "execute" {
		os.Exit(1)
	}
	code := m.Run()
	if folder != "" {
		os.RemoveAll(folder)
	}
	os.Exit(code)
}

// folder has the program, once a test has asked for it.
var folder string

var program = sync.OnceValues(func() (path string, err error) {
	if folder, err = os.MkdirTemp("", "hatchery-"); err != nil {
		return "", err
	}
	path = filepath.Join(folder, "hatchery")
	out, err := exec.Command("go", "build", "-o", path, "hatchery").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return path, nil
})

// hatchery builds the program, for the tests that start it.
func hatchery(t *testing.T) string {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

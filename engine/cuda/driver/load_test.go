//go:build gpu

package driver_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/emulation"
)

// TestLibrary checks, in a separate process, that Library returns the file that ld.so
// finds under the driver's name.
func TestLibrary(t *testing.T) {
	if os.Getenv("HATCHERY_TEST_LIBRARY") != "" {
		err := driver.Load()
		os.Stdout.WriteString("<<" + driver.Library() + ">>")
		if err != nil {
			t.Fatal(err)
		}
		os.Exit(0)
	}
	file := filepath.Join(t.TempDir(), "libcuda.so.1")
	emulation.Install(t, file)
	cmd := exec.Command(os.Args[0], "-test.run=^TestLibrary$")
	cmd.Env = emulation.Environment("HATCHERY_TEST_LIBRARY=1", "LD_LIBRARY_PATH="+filepath.Dir(file))
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "<<"+file+">>") {
		t.Errorf("%v\n%s\nwant %s", err, out, file)
	}
}

package library

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// listFolders is a Python program that prints the folders of Python's packages, one per
// line. It imports nothing from the working folder.
const listFolders = `
import sys
sys.path = [p for p in sys.path if p]
import site, sysconfig
folders = getattr(site, "getsitepackages", list)() + [site.getusersitepackages()]
folders += [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
print("\n".join(folders))
`

// packageFolders runs the first python3 in PATH, which may be a script that selects one of
// several, and returns the folders of its packages.
func (m Machine) packageFolders() ([]string, error) {
	python := m.program("python3")
	if python == "" {
		return nil, errors.New("python3 is not in PATH")
	}
	ctx, cancel := context.WithTimeout(context.Background(), m.PythonTimeout)
	defer cancel()
	var out, stderr head
	cmd := exec.CommandContext(ctx, python, "-c", listFolders)
	cmd.Stdout, cmd.Stderr = &out, &stderr
	cmd.WaitDelay = 100 * time.Millisecond // its children may keep the output open
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s did not say within %v where its packages are", python, m.PythonTimeout)
	case err != nil:
		reason := strings.TrimSpace(string(stderr))
		reason = reason[strings.LastIndexByte(reason, '\n')+1:] // Python's last line is the error
		return nil, fmt.Errorf("%s did not say where its packages are: %w: %s", python, err, cmp.Or(reason, "no reason given"))
	}
	var folders []string
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimRight(line, "\r\n"); filepath.IsAbs(line) {
			folders = append(folders, line)
		}
	}
	return folders, nil
}

// program returns the first executable file of the given name in PATH, or "".
func (m Machine) program(name string) string {
	for _, folder := range m.list(searchPath) {
		file := filepath.Join(folder, name)
		if s, err := os.Stat(file); err == nil && s.Mode().IsRegular() && s.Mode()&0o111 != 0 {
			return file
		}
	}
	return ""
}

// head is a writer that keeps the first 64 KiB.
type head []byte

func (h *head) Write(p []byte) (int, error) {
	*h = append(*h, p[:min(len(p), 64<<10-len(*h))]...)
	return len(p), nil
}

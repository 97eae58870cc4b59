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

// whereAreYourPackages has Python say where its packages are, one folder a line.
// Nothing is imported from the working folder.
const whereAreYourPackages = `
import sys
sys.path = [p for p in sys.path if p]
import site, sysconfig
folders = getattr(site, "getsitepackages", list)() + [site.getusersitepackages()]
folders += [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
print("\n".join(folders))
`

// ask runs the first python3 of PATH, which may be a script that chooses among
// several, for the folders of its packages.
func (m Machine) ask() ([]string, error) {
	python := m.program("python3")
	if python == "" {
		return nil, errors.New("python3 is not in PATH")
	}
	ctx, cancel := context.WithTimeout(context.Background(), m.AnswerWithin)
	defer cancel()
	var out, said head
	cmd := exec.CommandContext(ctx, python, "-c", whereAreYourPackages)
	cmd.Stdout, cmd.Stderr = &out, &said
	cmd.WaitDelay = 100 * time.Millisecond // for what it started, which may keep its output open
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s did not say within %v where its packages are", python, m.AnswerWithin)
	case err != nil:
		why := strings.TrimSpace(string(said))
		why = why[strings.LastIndexByte(why, '\n')+1:] // Python's last line is what went wrong
		return nil, fmt.Errorf("%s did not say where its packages are: %w: %s", python, err, cmp.Or(why, "no reason given"))
	}
	var folders []string
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimRight(line, "\r\n"); filepath.IsAbs(line) {
			folders = append(folders, line)
		}
	}
	return folders, nil
}

// program returns the first of a name in PATH that can be run, or "".
func (m Machine) program(name string) string {
	for _, folder := range m.list(searchPath) {
		file := filepath.Join(folder, name)
		if s, err := os.Stat(file); err == nil && s.Mode().IsRegular() && s.Mode()&0o111 != 0 {
			return file
		}
	}
	return ""
}

// head keeps the first 64 KiB of what is written to it.
type head []byte

func (h *head) Write(p []byte) (int, error) {
	*h = append(*h, p[:min(len(p), 64<<10-len(*h))]...)
	return len(p), nil
}

package library

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// script puts a program into the folder bin of a machine.
func script(t *testing.T, m Machine, name, text string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("a script of sh")
	}
	path := filepath.Join(m.Root, "bin", name)
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte("#!/bin/sh\n"+strings.ReplaceAll(text, "@", m.Root)+"\n"), 0o755))
}

// TestAsk checks that a python3 that is a script, as with pyenv, is run to find its
// packages, and that the search ends there.
func TestAsk(t *testing.T) {
	m := newMachine(t, map[string]string{"PATH": "@/empty:@/bin"})
	put(t, m, "empty/python", "pyenv/lib/python3.11/site-packages/nvidia/cublas/lib/ 12")
	script(t, m, "python3", `[ "$1" = -c ] || exit 1
echo relative
echo @/nowhere
echo @/pyenv/lib/python3.11/site-packages
echo @/pyenv/lib/python3.11/site-packages
`)
	files := found(m, 0)
	if got := strings.Join(files, " "); got != "ld.so pyenv/lib/python3.11/site-packages/nvidia/cublas/lib/libcublas.so.12" {
		t.Error(got)
	}
}

// TestAskIsLast checks that no program is run as long as there are other folders.
func TestAskIsLast(t *testing.T) {
	m := newMachine(t, map[string]string{"PATH": "@/bin"})
	put(t, m, "opt/conda/lib/ 12")
	script(t, m, "python3", "echo >@/ran")
	if got := strings.Join(found(m, 2), " "); got != "ld.so opt/conda/lib/libcublas.so.12" {
		t.Error(got)
	}
	if _, err := os.Stat(filepath.Join(m.Root, "ran")); err == nil {
		t.Error("python3 ran")
	}
	if found(m, 0); Check(filepath.Join(m.Root, "ran")) != nil {
		t.Error("python3 did not run at the end")
	}
}

// TestAskFails checks that the search ends with an error, whatever python3 does.
func TestAskFails(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"fails", "echo Traceback >&2; echo ImportError: no module >&2; exit 3", "@/bin/python3 did not say where its packages are: exit status 3: ImportError: no module"},
		{"fails silently", "exit 3", "@/bin/python3 did not say where its packages are: exit status 3: no reason given"},
		{"does not end", "exec sleep 5", "@/bin/python3 did not say within 300ms where its packages are"},
		{"does not end, nor does its child", "sleep 5; :", "@/bin/python3 did not say within 300ms where its packages are"},
		{"does not end its output", "exec yes", "@/bin/python3 did not say within 300ms where its packages are"},
		{"waits for input", "read line || exit 4", "@/bin/python3 did not say where its packages are: exit status 4: no reason given"},
		{"none", "", "python3 is not in PATH"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t, map[string]string{"PATH": "@/bin"})
			m.PythonTimeout = 300 * time.Millisecond
			if strings.HasPrefix(c.name, "fails") || strings.HasPrefix(c.name, "waits") {
				m.PythonTimeout = 10 * time.Second
			}
			if c.text != "" {
				script(t, m, "python3", c.text)
			}
			began := time.Now()
			files := found(m, 0)
			if got, want := files[len(files)-1], strings.ReplaceAll(c.want, "@", m.Root); got != want {
				t.Errorf("%s, want %s", got, want)
			}
			if took := time.Since(began); took > 4*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestHead checks that long output is read to its end and kept only in part.
func TestHead(t *testing.T) {
	var h head
	for range 100 {
		if n, err := h.Write(make([]byte, 1000)); n != 1000 || err != nil {
			t.Fatal(n, err)
		}
	}
	if len(h) != 64<<10 {
		t.Errorf("kept %d bytes", len(h))
	}
}

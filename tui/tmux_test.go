package tui

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestTmux is the whole story in a terminal, with the embedded images: change a
// preset, start it, watch it, leave, come back, stop, resume, compare. It needs
// a built program, tmux and a minute, so it runs only when it is asked for:
//
//	HATCHERY_BIN=$PWD/hatchery go test ./tui -run Tmux -v
func TestTmux(t *testing.T) {
	bin := os.Getenv("HATCHERY_BIN")
	if bin == "" {
		t.Skip("HATCHERY_BIN names no built hatchery")
	}
	m := &tmux{t: t, dir: t.TempDir(), socket: fmt.Sprintf("hatchery-test-%d", os.Getpid())}
	defer m.do("kill-server")
	m.do("new-session", "-d", "-x", "120", "-y", "40", "PS1='left> ' LANG=C.UTF-8 ENV= sh")
	m.do("set", "-s", "escape-time", "0")

	m.shell(bin)
	m.until("presets", "quickstart")
	m.keys("/", "quick", "Enter", "Enter")
	m.until("can start", "modules.k")
	m.keys("Enter", "BSpace", "3", "Enter")
	m.until("cannot start")
	m.keys("s")
	m.until("not started: modules.k = 3", "any key closes it")
	m.keys("x")
	m.keys("Enter", "BSpace", "2", "Enter")
	m.until("in 2 modules", "can start")
	m.keys("/", "epochs", "Enter")
	m.until("filter epochs")
	m.keys("/", "BSpace", "BSpace", "BSpace", "BSpace", "BSpace", "BSpace", "schedule", "Enter", "Enter", "BSpace", "BSpace", "BSpace", "2+1", "Enter")
	m.until("2+1", "can start")
	m.keys("s")
	m.until("modules 0/2", "running")

	m.keys("q") // and the run goes on
	m.until("goes on; to see it again", "left>")
	folders, err := filepath.Glob(filepath.Join(m.dir, "runs", "quickstart-*"))
	if err != nil || len(folders) != 1 {
		t.Fatalf("runs %v, %v", folders, err)
	}
	id := filepath.Base(folders[0])
	m.shell(bin + " tui " + id)
	m.until("modules 0/2", "running")
	for _, size := range [][2]string{{"80", "24"}, {"60", "16"}, {"40", "10"}, {"120", "40"}} {
		m.do("resize-window", "-x", size[0], "-y", size[1])
		if size[0] == "40" {
			m.until("screen 40x10, need 60x16")
		} else {
			m.until("modules", "meta", "finetune")
		}
	}
	m.keys("p")
	m.until("paused")
	m.keys("p")
	m.until("goes on", "running")
	m.keys("S")
	m.until("stop the run now?")
	m.keys("y")
	m.until("interrupted")
	m.keys("r")
	m.until("resumed", "running")
	m.until("done in")

	// A second run, to compare the first one with.
	if out, err := command(m.dir, bin, "run", "quickstart", "--set", "run.methods=[\"assembling\"]", "--set", "schedule=\"1+1\"", "--set", "meta.epochs=2",
		"--set", "train.warmup_epochs=0", "--set", "meta.warmup_epochs=0").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	m.keys("2")
	m.until("runs 2 of 2")
	m.keys("Space", "Space", "c")
	m.until("compare 2 runs", "modules.k", "finetune best top-1")
	m.keys("e")
	m.until("wrote compare.csv")
	m.keys("q")
	m.until("left>")
}

type tmux struct {
	t           *testing.T
	dir, socket string
}

func (m *tmux) do(args ...string) string {
	m.t.Helper()
	out, err := command(m.dir, "tmux", append([]string{"-L", m.socket, "-f", "/dev/null"}, args...)...).CombinedOutput()
	if err != nil {
		m.t.Fatalf("tmux %v: %v: %s", args, err, out)
	}
	return string(out)
}

// keys types; each is drawn before the next one.
func (m *tmux) keys(keys ...string) {
	m.t.Helper()
	for _, k := range keys {
		m.do("send-keys", k)
		time.Sleep(150 * time.Millisecond)
	}
}

func (m *tmux) shell(line string) {
	m.t.Helper()
	m.do("send-keys", "-l", line)
	m.do("send-keys", "Enter")
}

func (m *tmux) until(texts ...string) {
	m.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		screen := m.do("capture-pane", "-p")
		ok := true
		for _, x := range texts {
			ok = ok && strings.Contains(screen, x)
		}
		if ok {
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("the terminal never shows %q:\n%s", texts, screen)
		}
	}
}

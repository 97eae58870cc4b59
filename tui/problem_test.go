package tui

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"

	"hatchery/tui/pages"
)

// refusal is the error of a run that cannot be resumed.
const refusal = `/home/me/runs/cifar-20261128-010316-nepw cannot be resumed, because its stages were trained with other settings:
  modules.k was 2 when module-1 and module-2 were trained, and is 1 now
  modular.lr was 0.003 when module-1 and module-2 were trained, and is 1e-05 now
  seed was 0 when meta, module-1 and module-2 were trained, and is 7 now
Restore these settings in /home/me/runs/cifar-20261128-010316-nepw/config.toml.
Or start a new run with the present settings:
  hatchery run /home/me/runs/cifar-20261128-010316-nepw/config.toml
Or remove the stages that were trained with other settings and all that depend on them, and train them again:
  rm -r /home/me/runs/cifar-20261128-010316-nepw/stages/meta && hatchery resume /home/me/runs/cifar-20261128-010316-nepw`

// TestProblem checks that a long error can be read to its end on every screen, keeps words
// whole, and is closed only by the keys that the box names.
func TestProblem(t *testing.T) {
	dir := root(t)
	d := at(t, screen("runs"), dir, Options{})
	at := d.a.page().(*pages.Runs).Copy()
	d.send(pages.Flash{Text: refusal, Bad: true})
	for _, size := range [][2]int{{120, 40}, {80, 24}, {60, 16}} {
		d.send(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
		d.press("home")
		compare(t, fmt.Sprintf("refused-%dx%d.txt", size[0], size[1]), machine.ReplaceAllStringFunc(d.screen(), hide))
		seen := d.screen()
		for range 20 {
			d.press("down")
			seen += d.screen()
		}
		for word := range strings.FieldsSeq(refusal) {
			if !strings.Contains(seen, word) {
				t.Errorf("%dx%d: %q is missing or broken", size[0], size[1], word)
			}
		}
		d.press("x", "D", "up", "end")
		if !d.sees("esc closes it") || d.a.ask != nil || d.a.page().(*pages.Runs).Copy() != at {
			t.Errorf("%dx%d: a key had an effect outside the box:\n%s", size[0], size[1], d.screen())
		}
	}
	if !d.sees("lines ") || d.sees("settings:;") {
		t.Errorf("the screen is\n%s", d.screen())
	}
	d.press("esc")
	if d.sees("esc closes it") {
		t.Error("esc does not close it")
	}
	if d.a.problem != refusal {
		t.Errorf("kept for the shell: %q", d.a.problem)
	}
}

// TestBrokenRuns checks that a run that cannot be read is not shown as done, and that a
// missing folder is not shown as empty.
func TestBrokenRuns(t *testing.T) {
	dir := root(t)
	if err := os.WriteFile(filepath.Join(dir, "quickstart-a", "config.toml"), []byte("seed = \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := drive(t, Options{Root: dir, Env: []string{"LANG=C.UTF-8"}}, 120, 40)
	d.press("2")
	d.until("quickstart-a", "broken")
	for line := range strings.SplitSeq(d.screen(), "\n") {
		if strings.Contains(line, "quickstart-a") && (!strings.Contains(line, "broken") || strings.Contains(line, "done")) {
			t.Errorf("the line is %q", line)
		}
	}
	if err := os.Rename(dir, dir+"-moved"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir + "-moved") })
	d.press("2")
	d.until("There is no folder", "moved")
	if d.sees("no runs yet:") {
		t.Errorf("the screen is\n%s", d.screen())
	}
}

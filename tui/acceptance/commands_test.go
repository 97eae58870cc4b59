package acceptance_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"hatchery/engine/runs"
	"hatchery/engine/study"
	"hatchery/presets"
)

// TestCommands runs the scripts of the command line.
func TestCommands(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata", RequireExplicitExec: true, UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != ""})
}

// endsWithin is the time after Ctrl-C by which a command has ended.
const endsWithin = 200 * time.Millisecond

// TestInterrupt sends Ctrl-C to the commands that show something and may take long, to those
// that write packs, and to one that trains. Because the machine may be busy with other
// tests, only one of several tries has to be in time.
func TestInterrupt(t *testing.T) {
	root := filepath.Join(t.TempDir(), "runs")
	long := longRun(t, root, "long", 200_000)
	grid := longStudy(t, root, 200_000)
	pictures := pictureFolder(t, 30)
	evaluated := "evaluated"
	out, err := exec.Command("hatchery", "--runs-dir", root, "run", "quickstart", "-s", "run.methods=[\"e2e\"]", "-s", "run.equal=epochs", "-s", "e2e.epochs=1",
		"-s", "e2e.warmup_epochs=0", "-s", "e2e.batch=50", "-s", "data.train=50", "-s", "train.batch=50", "-s", "model.width=256", "-s", "model.depth=4", "-s", "modules.k=2", "-s", "name="+evaluated).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const busy, quick = true, false
	for _, c := range []struct {
		args string
		busy bool // works long enough for Ctrl-C to meet it
		code int
	}{
		{"status " + long, busy, 130},
		{"status --json " + long, busy, 130},
		{"attach " + long, busy, 0}, // Ctrl-C is the ordinary end of attach
		{"report -o " + filepath.Join(t.TempDir(), "report.html") + " " + long, busy, 130},
		{"data verify folder --root=" + pictures, busy, 130},
		{"eval --stage=e2e " + evaluated, busy, 130},
		{"resume " + long, busy, 3},
		{"data pack folder " + filepath.Join(t.TempDir(), "packs") + " --side=256 --root=" + pictures, busy, 130},
		{"data partition folder " + filepath.Join(t.TempDir(), "parts") + " --parts=2 --side=256 --root=" + pictures, busy, 130},
		{"runs", quick, 130},
		{"logs " + long, quick, 130},
		{"queue", quick, 130},
		{"study status " + grid, busy, 130},
		{"study status --json " + grid, busy, 130},
		{"report -o " + filepath.Join(t.TempDir(), "study.html") + " " + grid, busy, 130},
		{"plan table1-vit-h", quick, 130},
		{"plan quickstart -s model.depth=1024", busy, 130},
		{"presets", quick, 130},
		{"study list", busy, 130},
		{"data", quick, 130},
		{"doctor", quick, 130},
	} {
		name, _, _ := strings.Cut(strings.ReplaceAll(c.args, grid, "grid"), "/")
		t.Run(name, func(t *testing.T) {
			interrupt(t, append([]string{"--runs-dir", root}, strings.Fields(c.args)...), c.busy, c.code)
		})
	}
}

// interrupt starts a command and sends Ctrl-C to it, each time after a longer delay, until
// the command was running at the signal and ends in time.
func interrupt(t *testing.T, args []string, busy bool, code int) {
	var took []time.Duration
	for try := range 8 {
		cmd := exec.Command("hatchery", args...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond << try)
		sent := time.Now()
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
		lasted := time.Since(sent)
		state := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if state.Signaled() && state.Signal() == syscall.SIGINT || state.ExitStatus() == 0 && !busy {
			continue // it had not started, or was done
		}
		if state.ExitStatus() != code {
			t.Fatalf("exit code %d, want %d: %s", state.ExitStatus(), code, &stderr)
		}
		if lasted < endsWithin {
			return
		}
		took = append(took, lasted)
	}
	if busy {
		t.Errorf("it never ended within %v, but after %v", endsWithin, took)
	}
}

// TestLongJournal attaches to a run with many events, and resumes it up to the first new
// event. Both must be fast and must not keep the events in memory.
func TestLongJournal(t *testing.T) {
	root := filepath.Join(t.TempDir(), "runs")
	long := longRun(t, root, "long", 200_000)
	for command, first := range map[string]string{"attach": "long-journal: interrupted", "resume": "starts: "} {
		cmd := exec.Command("hatchery", "--runs-dir", root, command, long)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		seen := false
		for in := bufio.NewScanner(out); in.Scan() && !seen; {
			seen = strings.Contains(in.Text(), first)
		}
		if command == "resume" { // attach ends by itself, since nobody executes the run
			cmd.Process.Signal(os.Interrupt)
		}
		cmd.Wait()
		state := cmd.ProcessState
		cpu := state.UserTime() + state.SystemTime() // the machine may be busy with other things
		rss := state.SysUsage().(*syscall.Rusage).Maxrss << 10
		if runtime.GOOS == "darwin" {
			rss >>= 10
		}
		if !seen || state.ExitCode() != 3 || cpu > 2*time.Second || rss > 100<<20 {
			t.Errorf("%s: first line seen: %v, exit code %d, %v of CPU time, %d MiB of memory; want 3, less than 2 s and 100 MiB", command, seen, state.ExitCode(), cpu, rss>>20)
		}
	}
}

// longSets are the changes of quickstart for the runs that longRun makes.
var longSets = []string{"run.methods=[\"e2e\"]", "run.equal=epochs", "data.train=200", "data.eval=100", "model.width=16", "model.heads=2", "model.depth=4", "modules.k=2", "e2e.batch=50"}

// longStudy creates a study in root with runs whose journals have n events each.
func longStudy(t *testing.T, root string, n int) (id string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "grid.toml")
	var sets []string
	for _, set := range longSets {
		sets = append(sets, strconv.Quote(set))
	}
	definition := fmt.Sprintf("title = \"A grid\"\npreset = \"quickstart\"\nset = [%s]\n[[series]]\nname = \"lr\"\nmethod = \"e2e\"\nkey = \"e2e.lr\"\nvalues = [1e-3, 1e-4]\n",
		strings.Join(sets, ", "))
	if err := os.WriteFile(path, []byte(definition), 0o644); err != nil {
		t.Fatal(err)
	}
	d, err := presets.LoadStudy(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := study.Create(t.Context(), root, d, study.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, cell := range s.Cells {
		longRun(t, root, cell.Run, n)
	}
	return s.ID
}

// longRun creates a run in root whose journal has n events.
func longRun(t *testing.T, root, id string, n int) string {
	t.Helper()
	c, err := presets.Load("quickstart", append([]string{"name=long-journal"}, longSets...))
	if err != nil {
		t.Fatal(err)
	}
	r, err := runs.Create(root, id, c.TOML())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Emit(runs.Event{Kind: runs.RunStart}), r.Emit(runs.Event{Kind: runs.StageStart, Stage: "e2e", Epochs: n, Steps: n}), r.Finish(runs.Stopped, ""), r.Close()); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(r.Dir(), "events.jsonl"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	for i := 1; i <= n; i++ {
		kind := "step"
		if i%10 == 0 {
			kind = "eval" // which is not passed over
		}
		fmt.Fprintf(w, `{"time":"2026-01-31T14:00:00.000Z","kind":%q,"stage":"e2e","epoch":%d,"step":%d,"values":{"top1":13,"loss":1.7514146566390991,"lr":0.002999999244541064}}`+"\n", kind, i/100+1, i)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return r.ID()
}

// pictureFolder creates a data set of two classes with n pictures each.
func pictureFolder(t *testing.T, n int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	var picture bytes.Buffer
	if err := jpeg.Encode(&picture, image.NewRGBA(image.Rect(0, 0, 1000, 1000)), nil); err != nil {
		t.Fatal(err)
	}
	for _, split := range []string{"train", "val"} {
		for _, class := range []string{"cat", "dog"} {
			folder := filepath.Join(dir, split, class)
			if err := os.MkdirAll(folder, 0o755); err != nil {
				t.Fatal(err)
			}
			for i := range n {
				if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("%d.jpg", i)), picture.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return dir
}

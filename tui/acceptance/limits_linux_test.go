package acceptance_test

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"hatchery/engine/pipeline"
	"hatchery/engine/quantity"
	"hatchery/presets"
	"hatchery/tui/cli"
)

// process is the result of a process.
type process struct {
	code   int
	output string
	peak   int64 // resident memory, bytes
	runs   string
}

// execute starts the program with a folder of runs of its own, from a shell that first
// executes other commands, and waits for its end.
func execute(t *testing.T, before string, args ...string) process {
	t.Helper()
	e := process{runs: t.TempDir()}
	cmd := exec.Command("sh", append([]string{"-c", before + ` exec "$0" "$@"`, tool(t, "hatchery")}, args...)...)
	cmd.Env = append(os.Environ(), "HATCHERY_RUNS="+e.runs)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		cmd.Wait()
	}()
	status := fmt.Sprintf("/proc/%d/status", cmd.Process.Pid)
	for running := true; running; {
		select {
		case <-done:
			running = false
		case <-time.After(5 * time.Millisecond):
			// The system keeps the highest: at worst the last moment is missed.
			text, _ := os.ReadFile(status)
			if _, after, ok := strings.Cut(string(text), "VmHWM:"); ok {
				kib, _ := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
				e.peak = max(e.peak, kib<<10)
			}
		}
	}
	e.code, e.output = cmd.ProcessState.ExitCode(), out.String()
	return e
}

// short holds settings for an experiment of few steps.
var short = []string{
	"meta.epochs=1", "schedule=1+1", "run.equal=epochs", "e2e.epochs=1", "train.warmup_epochs=0",
	"finetune.warmup_epochs=0", "e2e.warmup_epochs=0", "run.device=cpu",
}

// wide holds settings for a model whose activations take a gigabyte.
var wide = []string{
	"model.width=256", "model.depth=16", "train.batch=200", "e2e.batch=200", "data.train=200", "data.eval=100", `run.methods=["assembling"]`,
}

// flags returns settings as command-line flags, and the plan of the experiment.
func flags(t *testing.T, sets ...[]string) (args []string, peak int64) {
	t.Helper()
	var all []string
	for _, s := range append([][]string{short}, sets...) {
		all = append(all, s...)
	}
	for _, s := range all {
		args = append(args, "-s", s)
	}
	c, err := presets.Load("quickstart", all)
	if err != nil {
		t.Fatal(err)
	}
	estimates, err := pipeline.Plan(t.Context(), c, pipeline.TrainImages(c))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range estimates {
		peak = max(peak, e.Memory())
	}
	return args, peak
}

// TestPeakMemory compares the peak memory of a run's process with the plan of its largest
// stage. They must agree within a fifth, whichever part of the memory dominates.
func TestPeakMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("runs of some seconds each")
	}
	shapes := []struct {
		name string
		sets func(t *testing.T) []string
	}{
		{"quickstart", func(*testing.T) []string { return []string{"data.train=500", "run.equal=cost"} }},
		{"1,025 tokens, one image at a time", func(t *testing.T) []string {
			return []string{
				"data.name=folder", "data.root=" + pictures(t), "model.channels=3", "augment.crop_padding=0", "model.image=32", "model.patch=1",
				"model.width=64", "model.heads=2", "model.depth=8", "modules.k=2", "train.batch=2", "e2e.batch=2", "train.micro_batch=1", "e2e.micro_batch=1",
				"model.classes=2", `run.methods=["assembling"]`,
			}
		}},
		{"width 256, depth 16, batch 200", func(*testing.T) []string { return wide }},
		{"images in memory", func(t *testing.T) []string {
			return []string{
				"data.name=cifar-10", "data.root=" + cifar(t), "model.channels=3", "augment.crop_padding=0", "model.image=32", "model.patch=16",
				"model.width=16", "model.heads=2", "model.depth=2", "modules.k=2", "train.batch=1000", "e2e.batch=1000", `run.methods=["e2e"]`, "run.equal=epochs",
			}
		}},
		{"parameters, with averages", func(*testing.T) []string {
			return []string{
				"model.width=384", "model.heads=6", "model.depth=12", "modules.k=2", "train.batch=4", "train.micro_batch=2", "e2e.batch=4",
				"train.ema=0.99", "data.train=10", "data.eval=10", `run.methods=["assembling"]`,
			}
		}},
	}
	for _, s := range shapes {
		t.Run(s.name, func(t *testing.T) {
			args, plan := flags(t, s.sets(t))
			began := time.Now()
			// If a cgroup can be created, run in one with little more memory.
			_, enter, why := cgroup(t, plan+plan/5)
			if why != nil {
				t.Log("not in a cgroup:", why)
			}
			e := execute(t, enter, append([]string{"run", "quickstart"}, args...)...)
			if e.code != 0 {
				t.Fatalf("exit code %d:\n%s", e.code, e.output)
			}
			off := float64(e.peak)/float64(plan) - 1
			t.Logf("%s at the peak, %s planned: %+.0f %%, in %.0f s", quantity.Bytes(e.peak), quantity.Bytes(plan), 100*off, time.Since(began).Seconds())
			if off > 0.2 || off < -0.2 {
				t.Errorf("the process takes %s at its peak, the plan says %s", quantity.Bytes(e.peak), quantity.Bytes(plan))
			}
		})
	}
}

// pictures creates a folder of pictures of two classes.
func pictures(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for dir, n := range map[string]int{"train/a": 1, "train/b": 1, "val/a": 10, "val/b": 10} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			var b bytes.Buffer
			if err := png.Encode(&b, image.NewRGBA(image.Rect(0, 0, 32, 32))); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, dir, fmt.Sprintf("%d.png", i)), b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return root
}

// cifar creates files of the size of CIFAR-10's.
func cifar(t *testing.T) string {
	t.Helper()
	const records, size = 10000, 1 + 3072
	root, record := t.TempDir(), make([]byte, records*size)
	for i := range records {
		record[i*size] = byte(i % 10)
	}
	for i := range 6 {
		name := "test_batch.bin"
		if i > 0 {
			name = fmt.Sprintf("data_batch_%d.bin", i)
		}
		if err := os.WriteFile(filepath.Join(root, name), record, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	names := strings.Join(strings.Fields("airplane automobile bird cat deer dog frog horse ship truck"), "\n")
	if err := os.WriteFile(filepath.Join(root, "batches.meta.txt"), []byte(names+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return root
}

// cgroup creates a cgroup v1 with a memory limit below the cgroup of this process. It returns
// its folder and the shell command that joins it, or the reason why it cannot be created.
func cgroup(t *testing.T, limit int64) (dir, enter string, err error) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", "", err
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.SplitN(strings.TrimSpace(line), ":", 3); len(fields) == 3 && slices.Contains(strings.Split(fields[1], ","), "memory") {
			dir = filepath.Join("/sys/fs/cgroup/memory", fields[2])
		}
	}
	if dir == "" {
		return "", "", errors.New("memory is not a controller of cgroups v1 here")
	}
	dir = filepath.Join(dir, fmt.Sprintf("hatchery-test-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", "", fmt.Errorf("%w: it takes root, and cgroups that are mounted for writing", err)
	}
	t.Cleanup(func() {
		var err error
		for range 100 { // until the system has seen that its process is gone
			if err = os.Remove(dir); err == nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Error(err)
	})
	if err := os.WriteFile(filepath.Join(dir, "memory.limit_in_bytes"), []byte(strconv.FormatInt(limit, 10)), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir, "echo $$ > " + filepath.Join(dir, "cgroup.procs") + " &&", nil
}

// TestMemoryLimit checks that with half of the planned memory, a run is refused before it
// starts, with advice. TestPeakMemory has runs with enough memory.
func TestMemoryLimit(t *testing.T) {
	args, plan := flags(t, wide)
	limit := plan / 2
	dir, enter, err := cgroup(t, limit)
	if err != nil {
		t.Skip("no cgroup with a limit:", err) // containers of CI have none either, unless they are privileged
	}
	e := execute(t, enter, append([]string{"run", "quickstart"}, args...)...)
	if e.code != cli.ExitBadInput {
		t.Errorf("exit code %d in a cgroup of %s, want %d", e.code, quantity.Bytes(limit), cli.ExitBadInput)
	}
	for _, want := range []string{"memory.limit_in_bytes", dir, "module-1 needs ", "give the container or job more memory"} {
		if !strings.Contains(e.output, want) {
			t.Errorf("%q is not said:\n%s", want, e.output)
		}
	}
	if left, err := os.ReadDir(e.runs); err != nil || len(left) > 0 {
		t.Errorf("a run was begun: %v, %v", left, err)
	}
	// With the suggested settings, the run starts.
	advice := regexp.MustCompile(`(\w+\.micro_batch) = (\d+)`).FindAllStringSubmatch(e.output, -1)
	if len(advice) == 0 {
		t.Errorf("no micro_batch is advised:\n%s", e.output)
	}
	var sets []string
	for _, a := range advice {
		sets = append(sets, a[1]+"="+a[2])
	}
	if _, smaller := flags(t, wide, sets); smaller > limit {
		t.Errorf("with %v the plan is %s, the limit %s", sets, quantity.Bytes(smaller), quantity.Bytes(limit))
	}
	e = execute(t, enter, "doctor")
	if !strings.Contains(e.output, "memory.limit_in_bytes = ") || !strings.Contains(e.output, "set by hatchery") {
		t.Errorf("doctor says\n%s", e.output)
	}
}

// TestAddressSpace checks that a shell's limit is respected like a container's.
func TestAddressSpace(t *testing.T) {
	args, _ := flags(t, wide)
	e := execute(t, "ulimit -v 1900000 &&", append([]string{"run", "quickstart"}, args...)...)
	if e.code != cli.ExitBadInput || !strings.Contains(e.output, "RLIMIT_AS = 1945600000") || !strings.Contains(e.output, "ulimit -v") {
		t.Errorf("exit code %d:\n%s", e.code, e.output)
	}
}

// TestMemoryOfGo checks that GOMEMLIMIT from the environment is not changed.
func TestMemoryOfGo(t *testing.T) {
	if e := execute(t, "GOMEMLIMIT=300MiB", "doctor"); !strings.Contains(e.output, "300.0 MiB, from the environment") {
		t.Errorf("doctor says\n%s", e.output)
	}
}

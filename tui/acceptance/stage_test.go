//go:build linux

package acceptance_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"hatchery/engine/method"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// alone holds settings that make the quickstart a graph of short stages, with modules long
// enough to be interrupted.
var alone = []string{
	"data.train=200", "data.eval=100", "model.width=16", "model.heads=2", "model.depth=4", "modules.k=2", "train.batch=50", "e2e.batch=50",
	"train.warmup_epochs=0", "finetune.warmup_epochs=0", "e2e.warmup_epochs=0", "run.equal=epochs", "run.together=false", "run.threads=1",
	"train.eval_every=0", "meta.epochs=2", "e2e.epochs=2", "modular.epochs=2", "finetune.epochs=2",
}

// begin executes a command on a preset and returns the name of the run.
func (w *workplace) begin(args, sets []string) string {
	w.Helper()
	args = append(args, "quickstart", "--json")
	for _, s := range append(slices.Clone(alone), sets...) {
		args = append(args, "--set", s)
	}
	var said struct{ Run string }
	if err := json.Unmarshal([]byte(strings.SplitN(w.run(args...), "\n", 2)[0]), &said); err != nil {
		w.Fatal(err)
	}
	return said.Run
}

// local starts the same run in one process on the login node.
func (w *workplace) local(sets ...string) string {
	w.Helper()
	return w.begin([]string{"run", "--detach"}, sets)
}

// state returns the state of a run, and stage that of one of its stages.
func (w *workplace) state(id string) *runs.State {
	w.Helper()
	s, err := runs.ReadState(w.Context(), filepath.Join(w.runs, id))
	if err != nil {
		w.Fatal(err)
	}
	return s
}

func (w *workplace) stage(id, stage string) runs.StageState {
	w.Helper()
	if st := w.state(id).Stage(stage); st != nil {
		return *st
	}
	return runs.StageState{}
}

// working waits until an attempt at a stage has trained for an epoch.
func (w *workplace) working(id, stage string, attempt int) runs.StageState {
	w.Helper()
	var st runs.StageState
	began := 0
	w.until(fmt.Sprintf("attempt %d at %s", attempt, stage), func() bool {
		st = w.stage(id, stage)
		if st.Attempt < attempt {
			began = st.Epoch
		}
		return st.Attempt >= attempt && st.Epoch > began && st.Phase == runs.Running || st.Phase == runs.Finished
	}, func() string { return w.run("status", id) })
	if st.Attempt != attempt || st.Phase != runs.Running {
		w.Fatalf("%s is %s in attempt %d; it must be longer", stage, st.Phase, st.Attempt)
	}
	return st
}

// same fails unless two runs have bitwise equal results in all stages.
func (w *workplace) same(want, got string) {
	w.Helper()
	w.run("wait", want)
	config, err := presets.Load(filepath.Join(w.runs, got, "config.toml"), nil)
	if err != nil {
		w.Fatal(err)
	}
	for _, s := range method.Stages(config) {
		a, errA := runs.LoadFinal(filepath.Join(w.runs, want), s.Name)
		b, errB := runs.LoadFinal(filepath.Join(w.runs, got), s.Name)
		if errA != nil || errB != nil {
			w.Fatal(errA, errB)
		}
		if len(a.Tensors) != len(b.Tensors) {
			w.Fatalf("%s ended with %d tensors, want %d", s.Name, len(b.Tensors), len(a.Tensors))
		}
		for i, x := range a.Tensors {
			y := b.Tensors[i]
			if x.Name != y.Name || !slices.EqualFunc(x.Data, y.Data, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) }) {
				w.Fatalf("%s: %s is not that of one machine", s.Name, x.Name)
			}
		}
	}
}

// fails executes hatchery, checks its exit code and returns its output.
func (w *workplace) fails(code int, args ...string) string {
	w.Helper()
	cmd := exec.Command(w.hatchery, args...)
	cmd.Dir, cmd.Env = w.dir, w.env
	out, _ := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != code {
		w.Fatalf("hatchery %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, code, out)
	}
	return string(out)
}

// TestStagesByHand executes all stages of a run in three shells at once, like three machines.
// Each stage must be executed once, and the result must be that of a single process.
func TestStagesByHand(t *testing.T) {
	t.Parallel()
	w := newWorkplace(t)
	sets := []string{"modules.k=4", "modular.epochs=3"}
	want := w.local(sets...)
	id := w.begin([]string{"submit", "--no-slurm"}, sets)
	if said := w.fails(2, "stage", id, "assemble"); !strings.Contains(said, "stage assemble needs module-1, module-2, module-3, module-4, which must be done first") {
		t.Errorf("assembling nothing: %s", said)
	}
	stages := []string{"meta", "e2e", "module-1", "module-2", "module-3", "module-4", "assemble", "finetune"}
	var shells sync.WaitGroup
	for i := range 3 {
		shells.Go(func() {
			// Each starts with another module.
			order := slices.Clone(stages)
			order[2], order[2+i] = order[2+i], order[2]
			cmd := exec.Command(w.hatchery, append([]string{"stage", "--wait", id}, order...)...)
			cmd.Dir, cmd.Env = w.dir, w.env
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("shell %d: %v\n%s", i, err, out)
			}
		})
	}
	shells.Wait()
	w.same(want, id)
	s := w.state(id)
	if s.Phase != runs.Finished || len(s.Results) != 2 {
		t.Errorf("the run is %s with %d results", s.Phase, len(s.Results))
	}
	for _, st := range s.Stages {
		if st.Attempt != 1 || st.Attempts != 1 {
			t.Errorf("%s was started %d times", st.Name, st.Attempt)
		}
	}
	if said := w.run("stage", id, "meta"); said != "stage meta is done\n" {
		t.Errorf("a stage that is done: %s", said)
	}
}

package pipeline

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hatchery/datasets"
	"hatchery/engine/method"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// executeAlone executes a stage of the run in dir like a separate process.
func executeAlone(ctx context.Context, c *presets.Config, dir, stage string) error {
	s, err := FindStage(c, stage)
	if err != nil {
		return err
	}
	if _, err := Ready(c, dir, s); err != nil {
		return err
	}
	run, err := runs.OpenStage(ctx, dir, stage, runs.Claim{})
	if err != nil {
		return err
	}
	err = ExecuteStage(ctx, c, run, s)
	if errors.Is(err, ErrInterrupted) {
		err = errors.Join(err, run.Emit(runs.Event{Kind: runs.Interrupted, Message: "stopped"}), run.Finish(runs.Stopped, "stopped"))
	}
	return errors.Join(err, run.Close())
}

// folder creates a run that is not open in any process.
func folder(t *testing.T, c *presets.Config) string {
	t.Helper()
	run := newRun(t, c)
	if err := run.Close(); err != nil {
		t.Fatal(err)
	}
	return run.Dir()
}

// TestStagesAlone executes each stage separately, independent ones at the same time. The
// weights must equal those of a single process.
func TestStagesAlone(t *testing.T) {
	c := config(t, "run.together=false")
	want := final(t, c, executeAll(t, c))
	dir := folder(t, c)
	var early *NotReady
	if err := executeAlone(t.Context(), c, dir, "module-1"); !errors.As(err, &early) || early.Error() != "stage module-1 needs meta, which must be done first" {
		t.Errorf("a module before the meta model: %v", err)
	}
	for _, together := range [][]string{
		{"meta", "e2e"}, {"module-1", "module-2", "imitation-1", "imitation-2"},
		{"assemble", "assemble-imitation"}, {"finetune", "finetune-imitation"},
	} {
		var wg sync.WaitGroup
		for _, stage := range together {
			wg.Go(func() {
				if err := executeAlone(t.Context(), c, dir, stage); err != nil {
					t.Errorf("%s: %v", stage, err)
				}
			})
		}
		wg.Wait()
	}
	same(t, "stages alone", want, final(t, c, dir))

	state, err := runs.ReadState(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if state.Phase != runs.Finished || len(state.Results) != 3 {
		t.Errorf("the run is %s with %d results", state.Phase, len(state.Results))
	}
	if live, err := runs.ReadLiveness(dir, time.Now()); err != nil || live.Status.Phase != runs.Finished {
		t.Errorf("the run is %v, %v", live, err)
	}
	for i, s := range method.Stages(c) {
		if state.Stages[i].Name != s.Name || state.Stages[i].Phase != runs.Finished {
			t.Errorf("stage %d is %s, %s", i, state.Stages[i].Name, state.Stages[i].Phase)
		}
	}
}

// TestStageAloneInterrupted stops stages repeatedly, and alternates between separate processes
// and one process for the whole run.
func TestStageAloneInterrupted(t *testing.T) {
	c := config(t, "run.together=false", `run.methods=["assembling"]`, "meta.epochs=4", "schedule=4+2")
	want := final(t, c, executeAll(t, c))
	dir := folder(t, c)
	// soon returns a context that ends soon after n more events.
	soon := func(n int) context.Context {
		ctx, cancel := context.WithCancel(t.Context())
		before, _ := runs.ReadEvents(dir)
		go func() {
			defer cancel()
			for ; ctx.Err() == nil; time.Sleep(time.Millisecond) {
				if now, _ := runs.ReadEvents(dir); len(now) >= len(before)+n {
					return
				}
			}
		}()
		return ctx
	}
	stopped := 0
	for err := ErrInterrupted; err != nil; stopped++ {
		if err = executeAlone(soon(6), c, dir, "meta"); err != nil && !errors.Is(err, ErrInterrupted) {
			t.Fatal(err)
		}
	}
	if stopped < 2 {
		t.Fatal("it was never stopped")
	}
	if err := executeAlone(soon(6), c, dir, "module-2"); !errors.Is(err, ErrInterrupted) {
		t.Fatal(err)
	}
	run, err := runs.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(Execute(soon(20), c, run, nil), run.Close()); !errors.Is(err, ErrInterrupted) {
		t.Fatal(err)
	}
	for _, stage := range []string{"module-1", "module-2", "assemble", "finetune"} {
		s, err := FindStage(c, stage)
		if err != nil {
			t.Fatal(err)
		}
		if done, err := Ready(c, dir, s); err != nil {
			t.Fatal(err)
		} else if done {
			continue
		}
		if err := executeAlone(t.Context(), c, dir, stage); err != nil {
			t.Fatal(err)
		}
	}
	same(t, "now alone, now together", want, final(t, c, dir))
}

// TestOtherMeta checks that modules of another meta model are refused.
func TestOtherMeta(t *testing.T) {
	c := config(t, "run.together=false", `run.methods=["assembling"]`)
	dir, other := executeAll(t, c), executeAll(t, config(t, "seed=1", `run.methods=["assembling"]`))
	if err := os.RemoveAll(filepath.Join(dir, "stages", "meta")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(other, "stages", "meta"), filepath.Join(dir, "stages", "meta")); err != nil {
		t.Fatal(err)
	}
	for _, stage := range []string{"module-1", "assemble"} {
		err := executeAlone(t.Context(), c, dir, stage)
		if err == nil || !strings.Contains(err.Error(), "the weights of stage meta have changed since module-1 and module-2 were trained") {
			t.Errorf("%s: %v", stage, err)
		}
	}
	// An unfinished module is refused too.
	if err := os.Remove(filepath.Join(dir, "stages", "module-1", "done")); err != nil {
		t.Fatal(err)
	}
	if err := executeAlone(t.Context(), c, dir, "module-1"); err == nil || !strings.Contains(err.Error(), "the weights of stage meta have changed since module-1") {
		t.Errorf("a module that goes on: %v", err)
	}
	if _, err := FindStage(c, "module-3"); err == nil || !strings.Contains(err.Error(), "meta, module-1, module-2, assemble, finetune") {
		t.Error(err)
	}
}

// TestAtCostIsLast checks that end-to-end training at equal cost waits for the first method.
func TestAtCostIsLast(t *testing.T) {
	for equal, want := range map[string]int{"cost": 5, "epochs": 0} {
		s, err := FindStage(config(t, `run.methods=["assembling","imitation","e2e"]`, "run.equal="+equal), "e2e")
		if err != nil || len(s.After) != want {
			t.Errorf("%s: after %v, %v", equal, s.After, err)
		}
	}
}

// TestParts checks that a module that has only a copy of its part of the data ends with the
// same weights as one that selects its part from all data.
func TestParts(t *testing.T) {
	parts := t.TempDir()
	if err := datasets.WriteParts(t.Context(), datasets.Source{Name: "fashion-mnist-5k"}, parts, 2, partitionSeed, datasets.PackOptions{}); err != nil {
		t.Fatal(err)
	}
	sets := []string{"data.partition=true", "run.together=false", "data.train=0", `run.methods=["assembling"]`, "train.batch=500",
		"meta.epochs=1", "schedule=1+1", "train.warmup_epochs=0", "model.depth=2", "model.patch=14"}
	c := config(t, sets...)
	want := final(t, c, executeAll(t, c))
	c.Launch.Parts = parts
	if err := CheckRemote(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	dir := folder(t, c)
	for _, stage := range []string{"meta", "module-1", "module-2", "assemble", "finetune"} {
		if err := executeAlone(t.Context(), c, dir, stage); err != nil {
			t.Fatal(err)
		}
	}
	same(t, "with parts", want, final(t, c, dir))
	if w := warnings(t, dir); len(w) > 0 { // a part is the same wherever it is
		t.Errorf("warnings %q", w)
	}

	// Wrong parts are detected before anything is trained.
	if err := os.Rename(filepath.Join(parts, "part-2"), filepath.Join(parts, "part-3")); err != nil {
		t.Fatal(err)
	}
	if err := CheckRemote(t.Context(), c); err == nil || !strings.Contains(err.Error(), "hatchery data partition fashion-mnist-5k") {
		t.Errorf("a part is missing: %v", err)
	}
	if err := os.Rename(filepath.Join(parts, "part-1"), filepath.Join(parts, "part-2")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(parts, "part-3"), filepath.Join(parts, "part-1")); err != nil {
		t.Fatal(err)
	}
	if err := CheckRemote(t.Context(), c); err == nil || !strings.Contains(err.Error(), "is not part 1 of 2 (seed 0) of fashion-mnist-5k but part 2 of 2") {
		t.Errorf("parts are exchanged: %v", err)
	}
}

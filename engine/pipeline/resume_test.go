package pipeline

import (
	"context"
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"hatchery/engine/runs"
	"hatchery/presets"
)

// TestKilled kills the process of a run 20 times at random moments. The resumed run must end
// with the weights of an uninterrupted run.
func TestKilled(t *testing.T) {
	c := config(t, "meta.epochs=8", "schedule=8+8", "e2e.epochs=8")
	want := final(t, c, executeAll(t, c))
	run := newRun(t, c)
	dir := run.Dir()
	if err := run.Close(); err != nil {
		t.Fatal(err)
	}
	child := func() *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+dir)
		cmd.Stderr = os.Stderr
		return cmd
	}
	events := filepath.Join(dir, "events.jsonl")
	size := func() int64 {
		info, err := os.Stat(events)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	chance := rand.New(rand.NewPCG(1, 2))
	kills := 0
	for ; kills < 20; kills++ {
		cmd := child()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		// Each process must make progress, or the run would never end.
		for start := size(); size() < start+700; time.Sleep(time.Millisecond) {
			select {
			case err := <-done:
				t.Fatalf("the run ended after %d kills: %v; it must be longer", kills, err)
			default:
			}
		}
		time.Sleep(time.Duration(chance.IntN(60)) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatalf("the run ended after %d kills; it must be longer", kills)
		}
		<-done
	}
	if err := child().Run(); err != nil {
		t.Fatal(err)
	}
	same(t, "killed 20 times", want, final(t, c, dir))

	read, err := runs.ReadEvents(dir)
	if err != nil {
		t.Fatal(err)
	}
	state := runs.Fold(read)
	if state.Phase != runs.Finished || state.Attempts < kills {
		t.Errorf("phase %v after %d attempts", state.Phase, state.Attempts)
	}
	for _, s := range state.Stages {
		if len(s.Points) != max(s.Epochs, 1) {
			t.Errorf("%s has %d points on its curves for %d epochs", s.Name, len(s.Points), s.Epochs)
		}
	}
}

// childEnv makes the test binary execute the run in the folder it names.
const childEnv = "HATCHERY_TEST_EXECUTE"

func TestMain(m *testing.M) {
	dir := os.Getenv(childEnv)
	if dir == "" {
		os.Exit(m.Run())
	}
	c, err := presets.Load(filepath.Join(dir, "config.toml"), nil)
	if err != nil {
		panic(err)
	}
	run, err := runs.Open(dir)
	if err != nil {
		panic(err)
	}
	if err := errors.Join(Execute(context.Background(), c, run, nil), run.Close()); err != nil {
		panic(err)
	}
}

// TestInterrupted stops a run in the middle of an epoch, repeatedly.
func TestInterrupted(t *testing.T) {
	for name, sets := range map[string][]string{
		"as the quickstart": nil,
		"another recipe":    otherRecipe,
	} {
		t.Run(name, func(t *testing.T) { interruptOften(t, config(t, sets...)) })
	}
}

// otherRecipe holds settings for features that tiny does not use: LAMB, averages in both modes,
// uniform drop path, parts of the data, the official schedule, and mixing in groups.
var otherRecipe = []string{
	"train.optimizer=lamb", "train.clip_grad=1", "train.drop_path_mode=uniform", "train.ema=0.9", "meta.ema_mode=instead", "modular.ema_mode=instead",
	"run.together=false", "data.partition=true", "compat=official",
	"meta.mix_batch=16", "modular.mix_batch=7", "finetune.mix_batch=20", "e2e.mix_batch=25",
}

// TestResumeOlderThanMixBatch checks that a run of a version without mix_batch, whose
// config.toml lacks it, continues with one draw per batch.
func TestResumeOlderThanMixBatch(t *testing.T) {
	c := config(t, `run.methods=["e2e"]`, "e2e.batch=100", "e2e.mix_batch=0") // more than a group of DeiT's
	want := final(t, c, executeAll(t, c))
	run, err := runs.Create(t.TempDir(), "run", regexp.MustCompile(`(?m)^mix_batch = .*\n`).ReplaceAll(c.TOML(), nil))
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	beginEpoch(t, c, run)
	older, err := presets.Load(filepath.Join(run.Dir(), "config.toml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := Execute(t.Context(), older, run, nil); err != nil {
		t.Fatal(err)
	}
	same(t, "older than mix_batch", want, final(t, c, run.Dir()))

	// The current value in the preset would have given another network.
	c.E2E.MixBatch = 16
	other := final(t, c, executeAll(t, c))
	if maps.EqualFunc(want, other, slices.Equal) {
		t.Error("groups of 16 images give the weights of one group")
	}
}

func interruptOften(t *testing.T, c *presets.Config) {
	want := final(t, c, executeAll(t, c))
	run := newRun(t, c)
	dir := run.Dir()
	attempts := 0
	for {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			// Stop soon after the first step of this attempt.
			before, _ := runs.ReadEvents(dir)
			for n := len(before); ctx.Err() == nil; time.Sleep(time.Millisecond) {
				if now, _ := runs.ReadEvents(dir); len(now) > n+3 {
					cancel()
				}
			}
		}()
		err := errors.Join(Execute(ctx, c, run, nil), run.Close())
		cancel()
		attempts++
		if err == nil {
			break
		}
		if !errors.Is(err, ErrInterrupted) {
			t.Fatal(err)
		}
		if s, err := runs.ReadStatus(dir); err != nil || s.Phase != runs.Stopped {
			t.Fatalf("status %v, %v", s.Phase, err)
		}
		if run, err = runs.Open(dir); err != nil {
			t.Fatal(err)
		}
	}
	if attempts < 4 {
		t.Fatalf("the run was interrupted only %d times", attempts-1)
	}
	same(t, "interrupted", want, final(t, c, dir))
}

func TestDiverged(t *testing.T) {
	c := config(t, "meta.epochs=4", "train.clip_grad=0", "finetune.clip_grad=0", "meta.lr=1e-3", "meta.warmup_epochs=0")
	run := newRun(t, c)
	c.Meta.LR = 1e38 // a run must handle this even if Validate does not refuse it
	err := errors.Join(Execute(t.Context(), c, run, nil), run.Close())
	var d *Diverged
	if !errors.As(err, &d) {
		t.Fatalf("got %v, want a *Diverged", err)
	}
	if d.Stage != "meta" || d.LR == 0 || !strings.Contains(err.Error(), "meta: the ") || !strings.Contains(err.Error(), "learning rate 1e+38") {
		t.Errorf("got %q", err)
	}
	events, err := runs.ReadEvents(run.Dir())
	if err != nil {
		t.Fatal(err)
	}
	state := runs.Fold(events)
	if state.Phase != runs.Failed || state.Stage("meta").Phase != runs.Failed {
		t.Errorf("the run's phase is %v, the stage's %v", state.Phase, state.Stage("meta").Phase)
	}
}

// TestDivergedKeepsCheckpoint checks weights that become invalid at the end of the warm-up,
// after an epoch that was saved.
func TestDivergedKeepsCheckpoint(t *testing.T) {
	c := config(t, "meta.epochs=4", "meta.warmup_epochs=1", "train.clip_grad=0")
	run := newRun(t, c)
	defer run.Close()
	c.Meta.LR = 1e38
	err := Execute(t.Context(), c, run, nil)
	if _, ok := errors.AsType[*Diverged](err); !ok {
		t.Fatalf("got %v, want a *Diverged", err)
	}
	good, warnings, err := runs.LoadLatest(run.Dir(), "meta")
	if err != nil || len(warnings) > 0 || good.Epoch < 1 {
		t.Fatalf("checkpoint %+v, warnings %v, error %v", good, warnings, err)
	}
	for _, tensor := range good.Tensors {
		for _, x := range tensor.Data {
			if x != x || math.IsInf(float64(x), 0) {
				t.Fatalf("the checkpoint that was kept has %v in %s", x, tensor.Name)
			}
		}
	}
}

// TestCorruptCheckpoint checks that a run resumes from the checkpoint before a corrupt one and
// emits a warning.
func TestCorruptCheckpoint(t *testing.T) {
	c := config(t, `run.methods=["e2e"]`, "e2e.epochs=4")
	want := final(t, c, executeAll(t, c))
	run := newRun(t, c)
	third := filepath.Join(run.Dir(), "stages", "e2e", "checkpoint-3.safetensors")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for ctx.Err() == nil {
			if _, err := os.Stat(third); err == nil {
				cancel()
			}
		}
	}()
	err := errors.Join(Execute(ctx, c, run, nil), run.Close())
	if !errors.Is(err, ErrInterrupted) {
		t.Fatal(err)
	}
	// Later checkpoints are deleted, and the third one is truncated.
	later, _ := filepath.Glob(filepath.Join(run.Dir(), "stages", "e2e", "checkpoint-3-*"))
	for _, f := range later {
		os.Remove(f)
	}
	data, err := os.ReadFile(third)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(third, data[:len(data)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if run, err = runs.Open(run.Dir()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(Execute(t.Context(), c, run, nil), run.Close()); err != nil {
		t.Fatal(err)
	}
	same(t, "after a corrupt checkpoint", want, final(t, c, run.Dir()))
	events, err := runs.ReadEvents(run.Dir())
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, e := range events {
		found = found || e.Kind == runs.Warning && strings.Contains(e.Message, third)
	}
	if !found {
		t.Errorf("no warning names %s", third)
	}
}

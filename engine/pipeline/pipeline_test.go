package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"hatchery/datasets"
	"hatchery/engine/cpu"
	"hatchery/engine/cpu/isa"
	"hatchery/engine/optim"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// tiny is an experiment of seconds: every method, all kinds of randomness.
var tiny = []string{
	"data.train=200", "data.eval=100", "model.width=16", "model.heads=2", "model.depth=4", "modules.k=2",
	"train.batch=50", "e2e.batch=50", "train.warmup_epochs=1", "finetune.warmup_epochs=0", "e2e.warmup_epochs=0",
	"meta.epochs=2", "schedule=2+2", "e2e.epochs=2", "train.drop_path=0.2", "meta.drop_path=0",
	"augment.mixup=0.8", "augment.cutmix=1.0", "train.schedule_unit=epoch", "run.equal=epochs", `run.methods=["assembling","imitation","e2e"]`,
}

func config(t *testing.T, sets ...string) *presets.Config {
	t.Helper()
	c, err := presets.Load("quickstart", append(append([]string{}, tiny...), sets...))
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(t.Context(), c, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	return c
}

// newRun makes a run folder for c.
func newRun(t *testing.T, c *presets.Config) *runs.Run {
	t.Helper()
	run, err := runs.Create(t.TempDir(), "run", c.TOML())
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// executeAll runs c to its end and returns the folder.
func executeAll(t *testing.T, c *presets.Config) string {
	t.Helper()
	run := newRun(t, c)
	if err := errors.Join(Execute(t.Context(), c, run, nil), run.Close()); err != nil {
		t.Fatal(err)
	}
	return run.Dir()
}

// final gives the tensors with which the stages of a run ended, by stage and
// name.
func final(t *testing.T, c *presets.Config, dir string) map[string][]float32 {
	t.Helper()
	all := map[string][]float32{}
	for _, s := range Stages(c) {
		checkpoint, err := runs.LoadFinal(dir, s.Name)
		if err != nil {
			t.Fatal(err)
		}
		for _, tensor := range checkpoint.Tensors {
			all[s.Name+": "+tensor.Name] = tensor.Data
		}
	}
	return all
}

// same fails unless both runs ended with the same bits.
func same(t *testing.T, what string, want, got map[string][]float32) {
	t.Helper()
	if len(want) != len(got) {
		t.Fatalf("%s: %d tensors, want %d", what, len(got), len(want))
	}
	for name, w := range want {
		for i, x := range got[name] {
			if math.Float32bits(x) != math.Float32bits(w[i]) {
				t.Fatalf("%s: %s[%d] is %v, want %v", what, name, i, x, w[i])
			}
		}
	}
}

func TestThreadsDoNotChangeResults(t *testing.T) {
	want := final(t, config(t, "run.threads=1"), executeAll(t, config(t, "run.threads=1")))
	for _, threads := range []string{"2", "3", "7"} {
		c := config(t, "run.threads="+threads)
		same(t, threads+" threads", want, final(t, c, executeAll(t, c)))
	}
}

// TestFiftySteps: neither threads nor instruction sets change the weights.
func TestFiftySteps(t *testing.T) {
	c := config(t)
	d, err := division(c)
	if err != nil {
		t.Fatal(err)
	}
	after := func(n int, level isa.Level, threads int) map[string][]float32 {
		before, err := isa.Use(level)
		if err != nil {
			t.Fatal(err)
		}
		defer isa.Use(before)
		pool := cpu.NewPool(threads)
		defer pool.Close()
		return steps(t, c, []*trainStage{newTrainStage(c, d, Stage{Name: "module", Kind: Incubate, Module: 1})}, weights{}, pool, n)
	}
	for level := isa.Go; level <= isa.Best(); level++ {
		n := 50
		if level == isa.Go && runtime.GOARCH == "amd64" {
			n = 3 // an exact multiply-add in software is slow
		}
		want := after(n, isa.Best(), 1)
		for _, threads := range []int{1, 2, 3, 7} {
			same(t, fmt.Sprintf("%d steps with %v and %d threads", n, level, threads), want, after(n, level, threads))
		}
	}
}

// TestKilled kills the process of a run 20 times at moments of chance; the
// resumed run ends with the weights of one that was left alone.
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
		// Something must have happened, or the run would never get anywhere.
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

// TestInterrupted stops a run in the middle of an epoch, over and over.
func TestInterrupted(t *testing.T) {
	c := config(t)
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

// TestFrozenMeta: modular training leaves the meta model's parameters alone.
func TestFrozenMeta(t *testing.T) {
	c := config(t)
	d, err := division(c)
	if err != nil {
		t.Fatal(err)
	}
	pool := cpu.NewPool(2)
	defer pool.Close()
	for _, kind := range []Kind{Incubate, Imitate} {
		w := weights{}
		w.initialise(d.MetaNet().Params(), 1)
		before := map[string][]float32{}
		for name, data := range w {
			before[name] = append([]float32{}, data...)
		}
		stages := []*trainStage{
			newTrainStage(c, d, Stage{Name: "a", Kind: kind, Module: 1}),
			newTrainStage(c, d, Stage{Name: "b", Kind: kind, Module: 2}),
		}
		trained := steps(t, c, stages, w, pool, 5)
		for name, want := range before {
			for i, x := range w[name] {
				if x != want[i] {
					t.Fatalf("%s: %s changed", kind, name)
				}
			}
		}
		if len(trained) == 0 {
			t.Fatalf("%s: nothing was trained", kind)
		}
	}
}

// steps trains stages for n steps and returns copies of the trained weights.
func steps(t *testing.T, c *presets.Config, stages []*trainStage, w weights, pool *cpu.Pool, n int) map[string][]float32 {
	t.Helper()
	trainer, err := newTrainer(stages, w, pool, c.Seed)
	if err != nil {
		t.Fatal(err)
	}
	r := &runner{config: c}
	if r.train, _, err = datasets.Open(t.Context(), Source(c)); err != nil {
		t.Fatal(err)
	}
	loader, err := r.trainLoader(stages[0])
	if err != nil {
		t.Fatal(err)
	}
	for done, epoch := 0, 0; done < n; epoch++ {
		for b, err := range loader.Epoch(t.Context(), epoch, 0) {
			if err != nil {
				t.Fatal(err)
			}
			if err := trainer.step(b, 1e-3); err != nil {
				t.Fatal(err)
			}
			if done++; done == n {
				break
			}
		}
	}
	trained := map[string][]float32{}
	for _, l := range trainer.learners {
		for i, p := range l.params {
			trained[p.Leaf()] = append([]float32{}, l.values[i]...)
		}
	}
	return trained
}

// distance is the norm of the difference over the norm of want, for all
// parameters together.
func distance(t *testing.T, want, got map[string][]float32) float64 {
	t.Helper()
	var diff, norm float64
	for name, w := range want {
		if len(got[name]) != len(w) {
			t.Fatalf("%s: %d elements, want %d", name, len(got[name]), len(w))
		}
		for i, x := range w {
			d := float64(got[name][i]) - float64(x)
			diff += d * d
			norm += float64(x) * float64(x)
		}
	}
	return math.Sqrt(diff / norm)
}

func TestTogetherEqualsAlone(t *testing.T) {
	c := config(t, "modules.k=4", "augment.mixup=0.8")
	d, err := division(c)
	if err != nil {
		t.Fatal(err)
	}
	pool := cpu.NewPool(2)
	defer pool.Close()
	for _, kind := range []Kind{Incubate, Imitate} {
		fresh := func() weights {
			w := weights{}
			w.initialise(d.MetaNet().Params(), 1)
			return w
		}
		var all []*trainStage
		alone := map[string][]float32{}
		for i := 1; i <= d.K(); i++ {
			s := newTrainStage(c, d, Stage{Name: "module", Kind: kind, Module: i})
			all = append(all, s)
			for name, data := range steps(t, c, []*trainStage{s}, fresh(), pool, 20) {
				alone[name] = data
			}
		}
		together := steps(t, c, all, fresh(), pool, 20)
		if len(together) != len(alone) {
			t.Fatalf("%s: %d parameters together, %d alone", kind, len(together), len(alone))
		}
		got := distance(t, alone, together)
		t.Logf("%s: 20 steps together differ from alone by %.1e", kind, got)
		if !(got <= 1e-5) {
			t.Errorf("%s: 20 steps together differ from alone by %g", kind, got)
		}
	}
}

// TestAccumulation: half-size passes with summed gradients are the full batch.
func TestAccumulation(t *testing.T) {
	c := config(t)
	d, err := division(c)
	if err != nil {
		t.Fatal(err)
	}
	pool := cpu.NewPool(2)
	defer pool.Close()
	whole := steps(t, c, []*trainStage{newTrainStage(c, d, Stage{Name: "e2e", Kind: E2E})}, weights{}, pool, 3)
	half := config(t, "e2e.micro_batch=25")
	parts := steps(t, half, []*trainStage{newTrainStage(half, d, Stage{Name: "e2e", Kind: E2E})}, weights{}, pool, 3)
	got := distance(t, whole, parts)
	t.Logf("3 steps in two passes each differ by %.1e", got)
	if !(got <= 1e-5) {
		t.Errorf("3 steps in two passes each differ by %g", got)
	}
}

func TestStepsDoNotAllocate(t *testing.T) {
	c := config(t)
	d, err := division(c)
	if err != nil {
		t.Fatal(err)
	}
	pool := cpu.NewPool(2)
	defer pool.Close()
	w := weights{}
	stages := []*trainStage{
		newTrainStage(c, d, Stage{Name: "a", Kind: Incubate, Module: 1}),
		newTrainStage(c, d, Stage{Name: "b", Kind: Incubate, Module: 2}),
	}
	trainer, err := newTrainer(stages, w, pool, 0)
	if err != nil {
		t.Fatal(err)
	}
	r := &runner{config: c}
	if r.train, _, err = datasets.Open(t.Context(), Source(c)); err != nil {
		t.Fatal(err)
	}
	loader, err := r.trainLoader(stages[0])
	if err != nil {
		t.Fatal(err)
	}
	for b, err := range loader.Epoch(t.Context(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		n := testing.AllocsPerRun(5, func() {
			if err := trainer.step(b, 1e-3); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("a step makes %v allocations", n)
		}
		break
	}
}

func TestDiverged(t *testing.T) {
	c := config(t, "meta.epochs=4", "train.clip_grad=0", "finetune.clip_grad=0", "meta.lr=1e-3", "meta.warmup_epochs=0")
	run := newRun(t, c)
	c.Meta.LR = 1e38 // what Validate may refuse, a run must survive
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

// TestDivergedKeepsCheckpoint: weights go bad after an epoch that was saved.
func TestDivergedKeepsCheckpoint(t *testing.T) {
	c := config(t, "meta.epochs=4")
	run := newRun(t, c)
	defer run.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { // stop once there is a checkpoint
		for ctx.Err() == nil {
			if m, _ := filepath.Glob(filepath.Join(run.Dir(), "stages", "meta", "checkpoint-1.safetensors")); m != nil {
				cancel()
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if err := Execute(ctx, c, run, nil); !errors.Is(err, ErrInterrupted) {
		t.Fatal(err)
	}
	c.Meta.LR = math.Inf(1)
	err := Execute(t.Context(), c, run, nil)
	var d *Diverged
	if !errors.As(err, &d) {
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

// TestCorruptCheckpoint: a run goes on from the checkpoint before a spoiled one
// and says so.
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
	// Whatever was saved after it goes, and the third is cut short.
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

// TestShapes runs divisions that are out of the ordinary to their end.
func TestShapes(t *testing.T) {
	for _, sets := range [][]string{
		{"modules.k=1"},
		{"modules.split=[3,1]"},
		{"modules.meta_depth=2", "run.together=false"},
		{"model.qkv_bias=false", "train.schedule_unit=step"},
	} {
		c := config(t, sets...)
		dir := executeAll(t, c)
		events, err := runs.ReadEvents(dir)
		if err != nil {
			t.Fatal(err)
		}
		state := runs.Fold(events)
		if len(state.Results) != 3 {
			t.Fatalf("%v: %d methods have results, want 3", sets, len(state.Results))
		}
		for _, s := range Stages(c) {
			final, err := runs.LoadFinal(dir, s.Name)
			if err != nil {
				t.Fatal(err)
			}
			score, err := Evaluate(t.Context(), c, dir, s, final)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := 100*score.Top1, state.Stage(s.Name).Results[runs.Top1]; got != want {
				t.Errorf("%v: %s evaluates to %v, the run said %v", sets, s.Name, got, want)
			}
		}
	}
}

// TestCheckpointHoldsTheModuleAlone: what a module's stage leaves is that
// module under the target model's names, so that assembling is a union.
func TestCheckpointHoldsTheModuleAlone(t *testing.T) {
	c := config(t)
	dir := executeAll(t, c)
	d, err := division(c)
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= d.K(); i++ {
		checkpoint, err := runs.LoadFinal(dir, Stages(c)[i].Name)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]bool{}
		for _, p := range d.ModuleParams(i) {
			want[p.Name] = true
		}
		for _, tensor := range checkpoint.Tensors {
			if optim.IsState(tensor.Name) {
				continue
			}
			if !want[tensor.Name] {
				t.Errorf("module %d's checkpoint holds %s", i, tensor.Name)
			}
			delete(want, tensor.Name)
		}
		if len(want) > 0 {
			t.Errorf("module %d's checkpoint lacks %v", i, want)
		}
	}
}

package pipeline

import (
	"context"
	"errors"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hatchery/engine/method"
	"hatchery/engine/optim"
	"hatchery/engine/runs"
	"hatchery/engine/runs/safetensors"
	"hatchery/presets"
)

// executeUntil executes a run until an event, and leaves it to be resumed.
func executeUntil(t *testing.T, c *presets.Config, run *runs.Run, stop func(runs.Event) bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	run.Observe(func(e runs.Event) {
		if stop(e) {
			cancel()
		}
	})
	if err := errors.Join(Execute(ctx, c, run, nil), run.Close()); !errors.Is(err, ErrInterrupted) {
		t.Fatal(err)
	}
}

// saved returns a condition for executeUntil: the first checkpoint of a stage.
func saved(stage string) func(runs.Event) bool {
	return func(e runs.Event) bool { return e.Kind == runs.Saved && e.Stage == stage }
}

// resumeRun resumes a run and executes it to its end.
func resumeRun(t *testing.T, c *presets.Config, dir string) error {
	t.Helper()
	run, err := runs.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return errors.Join(Execute(t.Context(), c, run, nil), run.Close())
}

func warnings(t *testing.T, dir string) []string {
	t.Helper()
	state, err := runs.ReadState(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, w := range state.Warnings {
		all = append(all, w.Message)
	}
	return all
}

// age makes the folder of a run look like one of an older version: without identities, and with
// the seals of whole files.
func age(t *testing.T, c *presets.Config, dir string) {
	t.Helper()
	seals := map[string]string{}
	for _, s := range method.Stages(c) {
		o, err := runs.ReadOutcome(dir, s.Name)
		if err != nil {
			t.Fatal(err)
		}
		files, _ := filepath.Glob(filepath.Join(runs.StageDir(dir, s.Name), "checkpoint-*.safetensors"))
		for _, path := range files {
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			info, _ := f.Stat()
			file, err := safetensors.Read(f, info.Size())
			f.Close()
			if err != nil {
				t.Fatal(err)
			}
			for _, key := range []string{"recipe", "data", "inputs"} {
				if file.Metadata[key] == "" {
					t.Fatalf("%s has no %s", path, key)
				}
				delete(file.Metadata, key)
			}
			for _, need := range s.Needs {
				file.Metadata[metaInput+need] = seals[need]
			}
			if f, err = os.Create(path); err != nil {
				t.Fatal(err)
			}
			seal, err := safetensors.Write(f, file.Tensors, file.Metadata)
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
			if o != nil && filepath.Base(path) == o.Checkpoint {
				seals[s.Name] = seal
			}
		}
		if o == nil {
			continue
		}
		mark := filepath.Join(runs.StageDir(dir, s.Name), "done")
		text, err := os.ReadFile(mark)
		if err != nil {
			t.Fatal(err)
		}
		head, _, _ := strings.Cut(strings.Replace(string(text), o.SHA256, seals[s.Name], 1), ",\n  \"weights\"")
		if err := os.WriteFile(mark, []byte(head+"\n}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if aged, err := runs.ReadOutcome(dir, s.Name); err != nil || aged.Identity != nil || aged.Weights != "" {
			t.Fatalf("%+v, %v", aged, err)
		}
	}
}

// TestAgedRun checks that a run of an older version ends with the weights that it would have
// had, warns that it has no identities, and does not get identities from the current data.
func TestAgedRun(t *testing.T) {
	c := config(t, "run.methods=assembling", "schedule=3+2")
	want := final(t, c, executeAll(t, c))
	run := newRun(t, c)
	executeUntil(t, c, run, saved("module-2"))
	dir := run.Dir()
	age(t, c, dir)
	if err := CheckResume(t.Context(), c, dir); err != nil {
		t.Fatal(err)
	}
	if err := resumeRun(t, c, dir); err != nil {
		t.Fatal(err)
	}
	same(t, "of an older version", want, final(t, c, dir))
	w := warnings(t, dir)
	if len(w) != 1 || !strings.Contains(w[0], "started meta, module-1 and module-2") || !strings.Contains(w[0], "cannot check whether") {
		t.Errorf("warnings %q", w)
	}
	for stage, known := range map[string]bool{"meta": false, "module-1": false, "assemble": true, "finetune": true} {
		o, err := runs.ReadOutcome(dir, stage)
		if err != nil || o == nil || (o.Identity != nil) != known {
			t.Errorf("%s: identity %v, %v", stage, o.Identity, err)
		}
	}

	// Checkpoints of an older version are compared by its rules.
	if err := CheckResume(t.Context(), c, dir); err != nil {
		t.Error(err)
	}
	other := executeAll(t, config(t, "run.methods=assembling", "seed=3"))
	swap(t, dir, other, "meta")
	var invalid *Invalid
	if err := resumeRun(t, c, dir); !errors.As(err, &invalid) || !strings.Contains(err.Error(), "the weights of stage meta have changed since module-1 and module-2 were trained") {
		t.Errorf("another meta model: %v", err)
	}
}

// swap replaces a stage of a run with that of another run.
func swap(t *testing.T, dir, other, stage string) {
	t.Helper()
	if err := os.RemoveAll(runs.StageDir(dir, stage)); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(runs.StageDir(dir, stage), os.DirFS(runs.StageDir(other, stage))); err != nil {
		t.Fatal(err)
	}
}

// TestOlderRun opens a folder of an older version with unfinished modules, evaluates a
// checkpoint and executes the run to its end.
func TestOlderRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "older")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "older-run"))); err != nil {
		t.Fatal(err)
	}
	c, err := presets.Load(filepath.Join(dir, "config.toml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckResume(t.Context(), c, dir); err != nil {
		t.Fatal(err)
	}
	s, err := FindStage(c, "module-1")
	if err != nil {
		t.Fatal(err)
	}
	module, _, err := runs.LoadLatest(dir, "module-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, said, err := Evaluate(t.Context(), c, dir, s, module); err != nil || len(said) != 1 {
		t.Errorf("warnings %q, %v", said, err)
	}
	if err := resumeRun(t, c, dir); err != nil {
		t.Fatal(err)
	}
	final(t, c, dir)
	if w := warnings(t, dir); len(w) != 1 || !strings.Contains(w[0], "cannot check whether") {
		t.Errorf("warnings %q", w)
	}
}

// TestMetaTrainedAgain checks that modules depend on the weights of the meta model and not on
// its file, which also records times, and that a run with other weights is refused.
func TestMetaTrainedAgain(t *testing.T) {
	c := config(t, "run.methods=assembling")
	dir := executeAll(t, c)
	want := final(t, c, dir)
	was, err := runs.ReadOutcome(dir, "meta")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(runs.StageDir(dir, "meta")); err != nil {
		t.Fatal(err)
	}
	if err := resumeRun(t, c, dir); err != nil {
		t.Fatal(err)
	}
	same(t, "with its meta model trained again", want, final(t, c, dir))
	for _, stage := range method.Stages(c) {
		if done, err := Ready(c, dir, stage); err != nil || !done {
			t.Errorf("%s: done %v, %v", stage.Name, done, err)
		}
	}
	now, err := runs.ReadOutcome(dir, "meta")
	if err != nil || now.Weights != was.Weights || now.SHA256 == was.SHA256 {
		t.Errorf("it was %.12s in %.12s, and is %.12s in %.12s, %v", was.Weights, was.SHA256, now.Weights, now.SHA256, err)
	}

	// A valid meta model with one different weight.
	meta, err := runs.LoadFinal(dir, "meta")
	if err != nil {
		t.Fatal(err)
	}
	for _, tensor := range meta.Tensors {
		if tensor.Name == "head.bias" {
			tensor.Data[0]++
		}
	}
	run, err := runs.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	meta.Weights = weightsDigest(meta)
	if err := errors.Join(run.Save(meta), run.FinishStage(meta, now.Values), run.Close()); err != nil {
		t.Fatal(err)
	}
	var invalid *Invalid
	err = resumeRun(t, c, dir)
	if !errors.As(err, &invalid) || !strings.Contains(err.Error(), "the weights of stage meta have changed since module-1 and module-2 were trained") ||
		!strings.Contains(err.Error(), "rm -r "+runs.StageDir(dir, "module-1")) || strings.Contains(err.Error(), "rm -r "+runs.StageDir(dir, "meta")) {
		t.Errorf("another meta model: %v", err)
	}
	s, err := FindStage(c, "module-1")
	if err != nil {
		t.Fatal(err)
	}
	module, err := runs.LoadFinal(dir, "module-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := Evaluate(t.Context(), c, dir, s, module); !errors.As(err, &invalid) {
		t.Errorf("a module evaluated in another meta model: %v", err)
	}
}

// TestWeightsDigest checks that the digest does not depend on values that later stages do not
// read.
func TestWeightsDigest(t *testing.T) {
	checkpoint := func(weight, average, moment float32, seconds string) *runs.Checkpoint {
		return &runs.Checkpoint{Metadata: map[string]string{metaSeconds: seconds}, Tensors: []safetensors.Tensor{
			{Name: "head.bias", Shape: []int{1}, Data: []float32{weight}},
			{Name: optim.EMAName("head.bias"), Shape: []int{1}, Data: []float32{average}},
			{Name: "optimizer.exp_avg.head.bias", Shape: []int{1}, Data: []float32{moment}},
		}}
	}
	want := weightsDigest(checkpoint(1, 2, 3, "4"))
	if weightsDigest(checkpoint(1, 20, 30, "40")) != want {
		t.Error("averages beside, optimizer state or times count")
	}
	if weightsDigest(checkpoint(10, 2, 3, "4")) == want {
		t.Error("the weights do not count")
	}
	averages := checkpoint(1, 2, 3, "4")
	averages.Metadata[metaWeights] = averageWeights
	want = weightsDigest(averages)
	averages.Tensors[0].Data[0]++
	if weightsDigest(averages) != want {
		t.Error("the weights count where the averages are read")
	}
	averages.Tensors[1].Data[0]++
	if weightsDigest(averages) == want {
		t.Error("the averages do not count where they are read")
	}
}

// TestChanges checks recipes with keys of other versions, and with values that changed during
// the stage.
func TestChanges(t *testing.T) {
	c := config(t)
	s, err := FindStage(c, "module-1")
	if err != nil {
		t.Fatal(err)
	}
	recipe := recipeOf(c, s)
	if all := changes(c, s, recipe); all != nil {
		t.Errorf("no change is %v", all)
	}
	older := maps.Clone(recipe)
	delete(older, "modular.ema")
	older["modular.lookahead"] = "5"
	older["modular.micro_batch"] = appendValue(appendValue("25", "5"), recipe["modular.micro_batch"])
	want := []change{{"modular.ema", "", "0", presets.EffectResult}, {"modular.lookahead", "5", "", presets.EffectResult}}
	if all := changes(c, s, older); !slices.Equal(all, want) {
		t.Errorf("got %v, want %v", all, want)
	}
	if got := older["modular.micro_batch"]; got != "25, then 5, then 0" {
		t.Errorf("it went on with %q", got)
	}
	if got := appendValue("5", "5"); got != "5" {
		t.Errorf("nothing has changed: %q", got)
	}
}

// TestAssembleRefuses checks that modules that do not fit together are refused.
func TestAssembleRefuses(t *testing.T) {
	c := config(t, "data.partition=true", "run.together=false")
	r, err := newRunner(t.Context(), c, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.backend.Close()
	module := func(meta, part string, classes []string) *runs.Checkpoint {
		return &runs.Checkpoint{Identity: &runs.Identity{Inputs: map[string]string{"meta": meta}, Data: runs.Data{Classes: classes, Part: part}}}
	}
	classes := r.train.Classes
	other := slices.Clone(classes)
	other[3] = "zebra"
	const first, second = "part 1 of 2 (seed 0)", "part 2 of 2 (seed 0)"
	for want, m := range map[string]*runs.Checkpoint{
		"":                                  module("a", second, classes),
		"another meta model":                module("b", second, classes),
		`class 4 of 10 was "zebra"`:         module("a", second, other),
		"not on part 2 of 2":                module("a", first, classes),
		"was trained on nothing of":         module("a", "", classes),
		"there were 9 classes and are 10: ": module("a", second, classes[:9]),
	} {
		err := r.checkFit(1, "meta", []*runs.Checkpoint{module("a", first, classes), m})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}

// TestPercent checks that accuracies are exact percentages of numbers of images.
func TestPercent(t *testing.T) {
	c := config(t, "data.eval=500", "run.methods=assembling")
	dir := executeAll(t, c)
	events, err := runs.ReadEvents(dir)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	check := func(where string, values runs.Values) {
		for _, key := range []string{runs.Top1, Gain, Assembled, Best} {
			x, ok := values[key]
			if !ok {
				continue
			}
			n++
			if fifths := math.Round(5 * x); x != fifths/5 { // one of 500 is 0.2 %
				t.Errorf("%s: %s is %v", where, key, x)
			}
		}
	}
	for _, e := range events {
		check(string(e.Kind)+" "+e.Stage, e.Values)
	}
	for _, s := range method.Stages(c) {
		o, err := runs.ReadOutcome(dir, s.Name)
		if err != nil {
			t.Fatal(err)
		}
		check("done of "+s.Name, o.Values)
	}
	if n < 20 {
		t.Errorf("only %d values", n)
	}
}

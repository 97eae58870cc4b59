package pipeline

import (
	"math"
	"slices"
	"testing"

	"hatchery/engine/backend/host"
	"hatchery/engine/method"
	"hatchery/engine/optim"
	"hatchery/engine/runs"
	"hatchery/models"
)

// TestAverages checks averaged weights in checkpoints, in scores and in later stages.
func TestAverages(t *testing.T) {
	c := config(t, "modular.ema=0.5", "modular.ema_mode=instead", "finetune.ema=0.5", "run.methods=assembling")
	dir := executeAll(t, c)
	load := func(stage string) *runs.Checkpoint {
		checkpoint, err := runs.LoadFinal(dir, stage)
		if err != nil {
			t.Fatal(err)
		}
		return checkpoint
	}
	data := func(checkpoint *runs.Checkpoint, name string) []float32 {
		tensor, ok := checkpoint.Tensor(name)
		if !ok {
			t.Fatalf("%s lacks %s", checkpoint.Path, name)
		}
		return tensor.Data
	}

	// The averages of the modules are assembled.
	const name = "blocks.0.attn.qkv.weight"
	module, assembled := load("module-1"), load("assemble")
	if average := data(module, optim.EMAName(name)); !slices.Equal(data(assembled, name), average) {
		t.Error("the assembled model has not the module's average")
	} else if slices.Equal(average, data(module, name)) {
		t.Error("the average is the weights: it was not kept")
	}

	// Both the weights and the average are evaluated, and the scores differ.
	state, err := runs.ReadState(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	results := state.Stage("finetune").Results
	if results[AverageEvalLoss] == 0 || results[AverageEvalLoss] == results[runs.EvalLoss] {
		t.Errorf("the average is scored %v beside %v", results[AverageEvalLoss], results[runs.EvalLoss])
	}
	if _, ok := state.Stage("module-1").Results[AverageTop1]; ok {
		t.Error("module-1 is judged by its average alone and scores two")
	}
	// Evaluate evaluates the weights that are the result of the stage.
	for _, s := range method.Stages(c) {
		score, _, err := Evaluate(t.Context(), c, dir, s, load(s.Name))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := score.Top1, state.Stage(s.Name).Results[runs.Top1]; got != want {
			t.Errorf("%s evaluates to %v, the run said %v", s.Name, got, want)
		}
	}
}

// TestPartition checks that a module's batches come only from its part, that the parts cover
// the whole set, and that an epoch has as many steps as with the whole set.
func TestPartition(t *testing.T) {
	c := config(t, "data.partition=true", "run.together=false")
	d, err := division(c)
	if err != nil {
		t.Fatal(err)
	}
	on := host.Open(1)
	defer on.Close()
	for _, s := range method.Stages(c) {
		if !s.Trains() {
			continue
		}
		stage := newTrainStage(c, d, s)
		l := batches(t, c, stage, on)
		if want := 200 / 50; l.Steps() != want {
			t.Errorf("%s: %d steps an epoch, want %d", s.Name, l.Steps(), want)
		}
		samples := map[int]bool{}
		for b, err := range l.Epoch(t.Context(), 0, 0) {
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range b.Samples {
				samples[i] = true
			}
		}
		want := 200
		if s.Module > 0 {
			want = 100 // K = 2
		}
		if len(samples) != want {
			t.Errorf("%s sees %d images in an epoch, want %d", s.Name, len(samples), want)
		}
	}
}

// TestOfficial checks that the learning rate lags by one epoch and that module 1 applies weight
// decay to its position embedding and class token.
func TestOfficial(t *testing.T) {
	official := config(t, "compat=official", "run.together=false", "meta.epochs=5", "meta.warmup_epochs=2")
	none := config(t, "run.together=false", "meta.epochs=5", "meta.warmup_epochs=2")
	a, b := schedule(official, official.Meta, 5), schedule(none, none.Meta, 5)
	for epoch := range 5 {
		if got, want := a.At(epoch), b.At(max(0, epoch-1)); got != want {
			t.Errorf("epoch %d: rate %v, want %v", epoch, got, want)
		}
	}
	d, err := division(official)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range method.Stages(official) {
		if !s.Trains() {
			continue
		}
		learner := job([]*trainStage{newTrainStage(official, d, s)}, nil, 0).Learners[0]
		for _, p := range learner.Trained() {
			if p.Name != "pos_embed" && p.Name != "cls_token" {
				continue
			}
			if want := s.Module == 1; p.Decay != want {
				t.Errorf("%s: decay of %s is %t, want %t", s.Name, p.Name, p.Decay, want)
			}
		}
	}
}

// TestDecayFrom checks that the cosine begins at the start of training or after the warm-up.
func TestDecayFrom(t *testing.T) {
	c := config(t, "meta.epochs=10", "meta.warmup_epochs=4", "meta.min_lr=0", "meta.decay_from=warmup")
	s := schedule(c, c.Meta, 10)
	if got := s.At(4); got != c.Meta.PeakLR() {
		t.Errorf("the rate at the warm-up's end is %v, want %v", got, c.Meta.PeakLR())
	}
	if got, want := s.At(7), c.Meta.PeakLR()/2; math.Abs(got-want) > 1e-12 {
		t.Errorf("halfway from there it is %v, want %v", got, want)
	}
	c.Meta.DecayFrom = "start"
	if got := schedule(c, c.Meta, 10).At(4); got >= c.Meta.PeakLR() {
		t.Errorf("from the start the rate at the warm-up's end is %v", got)
	}
}

// TestHighRes fine-tunes the results of both methods at a larger image size, starting from the
// interpolated position embedding, and checks the separate results.
func TestHighRes(t *testing.T) {
	c := config(t, "highres.image=35", "highres.epochs=1", "highres.batch=50", "highres.warmup_epochs=0", "highres.lr=1e-12", "highres.min_lr=0", "train.warmup_lr=0",
		"highres.drop_path=0", `run.methods=["assembling","e2e"]`)
	dir := executeAll(t, c)
	state, err := runs.ReadState(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range state.Results {
		after := map[string]string{"assembling": "finetune", "e2e": "e2e"}[r.Method]
		low, high := state.Stage(after), state.Stage(after+"-35")
		if low == nil || high == nil || high.Method != r.Method {
			t.Fatalf("%s: stages %v, %v", r.Method, low, high)
		}
		if r.Values[runs.Top1] != high.Results[runs.Top1] || r.Values[LowRes] != low.Results[runs.Top1] {
			t.Errorf("%s: %v, stages ended with %v and %v", r.Method, r.Values, low.Results, high.Results)
		}
		was, err := runs.LoadFinal(dir, after)
		if err != nil {
			t.Fatal(err)
		}
		is, err := runs.LoadFinal(dir, after+"-35")
		if err != nil {
			t.Fatal(err)
		}
		large := c.Final()
		for _, tensor := range was.Tensors {
			if optim.IsState(tensor.Name) {
				continue
			}
			want := tensor.Data
			if tensor.Name == "pos_embed" {
				if want, err = large.ResizePosEmbed(want); err != nil {
					t.Fatal(err)
				}
			}
			// A learning rate near 0 changes almost nothing.
			got, _ := is.Tensor(tensor.Name)
			for i, x := range want {
				if len(got.Data) != len(want) || math.Abs(float64(got.Data[i]-x)) > 1e-6 {
					t.Fatalf("%s: %s[%d] does not come from %s", r.Method, tensor.Name, i, after)
				}
			}
		}
	}
	// The images are larger too, for training and for eval.
	for _, s := range method.Stages(c) {
		if s.Recipe != "highres" {
			continue
		}
		checkpoint, err := runs.LoadFinal(dir, s.Name)
		if err != nil {
			t.Fatal(err)
		}
		score, _, err := Evaluate(t.Context(), c, dir, s, checkpoint)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := score.Top1, state.Stage(s.Name).Results[runs.Top1]; got != want {
			t.Errorf("%s evaluates to %v, the run said %v", s.Name, got, want)
		}
	}
}

// TestResize checks that a stage at another image size starts from the interpolated position
// embedding and otherwise from the same weights.
func TestResize(t *testing.T) {
	v := models.ViT{Image: 42, Patch: 7, Width: 2}
	w := weights{"target/pos_embed": make([]float32, (1+4*4)*2), "target/cls_token": {1, 2}}
	for i := range w["target/pos_embed"] {
		w["target/pos_embed"][i] = 3
	}
	if err := w.resize(v); err != nil {
		t.Fatal(err)
	}
	got := w["target/pos_embed"]
	if len(got) != (1+6*6)*2 {
		t.Fatalf("%d elements", len(got))
	}
	for i, x := range got { // interpolation keeps what is the same everywhere
		if math.Abs(float64(x-3)) > 1e-6 {
			t.Fatalf("element %d is %v", i, x)
		}
	}
	w["target/pos_embed"] = make([]float32, 5)
	if err := w.resize(v); err == nil {
		t.Error("a position embedding of no grid is taken")
	}
}

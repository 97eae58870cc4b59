package runs

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// donor creates a run whose stage meta is done: three epochs, of which the second is the best.
func donor(t *testing.T, root string) *Run {
	t.Helper()
	r, err := Create(root, "donor", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	emit := func(e Event) {
		t.Helper()
		if err := r.Emit(e); err != nil {
			t.Fatal(err)
		}
	}
	emit(Event{Kind: RunStart, Plan: []StagePlan{{Stage: "meta", Method: "assembling", Epochs: 3, Steps: 300}}})
	emit(Event{Kind: StageStart, Stage: "meta", Method: "assembling", Epochs: 3, Steps: 300})
	var last *Checkpoint
	for i, top1 := range []float64{50, 70, 60} {
		emit(Event{Kind: Eval, Stage: "meta", Epoch: i + 1, Step: 100 * (i + 1), Values: Values{Top1: top1}})
		emit(Event{Kind: Epoch, Stage: "meta", Epoch: i + 1, Step: 100 * (i + 1), Values: Values{Loss: 2 - float64(i)/2}})
		last = save(t, r, i+1, 0, top1)
	}
	if err := r.FinishStage(last, Values{Top1: 60}); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTakeOver(t *testing.T) {
	root := t.TempDir()
	from := donor(t, root)
	to, err := Create(root, "taker", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	// Twice, as after a process that was killed before it wrote the done file.
	for range 2 {
		if err := to.TakeOver(from.Dir(), "meta"); err != nil {
			t.Fatal(err)
		}
	}
	third, err := Create(root, "third", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	if err := third.TakeOver(to.Dir(), "meta"); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*Run{to, third} {
		if got, want := files(t, r), []string{"best.safetensors", "checkpoint-3.safetensors", "done"}; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: files %v, want %v", r.ID(), got, want)
		}
		final, err := LoadFinal(r.Dir(), "meta")
		if err != nil || !sameWeights(final) {
			t.Errorf("%s: the final checkpoint is not the donor's: %v", r.ID(), err)
		}
		if best, err := LoadBest(r.Dir(), "meta"); err != nil || best.Epoch != 2 {
			t.Errorf("%s: best: %+v, %v", r.ID(), best, err)
		}
		o, err := ReadOutcome(r.Dir(), "meta")
		if err != nil || o.Origin != "donor" || o.Values[Top1] != 60 {
			t.Errorf("%s: outcome %+v, %v", r.ID(), o, err)
		}
		state, err := ReadState(t.Context(), r.Dir())
		if err != nil {
			t.Fatal(err)
		}
		st := state.Stage("meta")
		if st.Phase != Finished || len(st.Points) != 3 || st.Points[1].Values[Top1] != 70 || st.Points[2].Values[Loss] != 1 || st.Epochs != 3 {
			t.Errorf("%s: state %+v", r.ID(), st)
		}
	}
}

func TestTakeOverRefuses(t *testing.T) {
	root := t.TempDir()
	from := donor(t, root)
	started, err := Create(root, "started", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer started.Close()
	save(t, started, 1, 0, 10)
	if err := started.TakeOver(from.Dir(), "meta"); err == nil || !strings.Contains(err.Error(), "already started") {
		t.Errorf("a stage that has started: %v", err)
	}
	taker, err := Create(root, "taker", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer taker.Close()
	if err := taker.TakeOver(from.Dir(), "module-1"); err == nil || !strings.Contains(err.Error(), "module-1") {
		t.Errorf("a stage that is not done there: %v", err)
	}
	// Damage in the donor's file is found before anything is taken over.
	path := filepath.Join(stageDir(from.Dir(), "meta"), "checkpoint-3.safetensors")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-40] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := taker.TakeOver(from.Dir(), "meta"); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a damaged checkpoint: %v", err)
	}
	if _, err := os.Stat(stageDir(taker.Dir(), "meta")); !os.IsNotExist(err) {
		t.Errorf("something was taken: %v", err)
	}
	if live, err := ReadLiveness(taker.Dir(), time.Now()); err != nil || live.Alive != IsRunning {
		t.Errorf("the run itself: %v, %v", live, err)
	}
}

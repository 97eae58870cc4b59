package runs

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"hatchery/engine/runs/safetensors"
)

// testCheckpoint returns a checkpoint whose weights depend on the epoch.
func testCheckpoint(stage string, epoch, partial int, score float64) *Checkpoint {
	w := make([]float32, 5000)
	for i := range w {
		w[i] = float32(epoch) + float32(partial)/1000 + float32(i)*1e-6
	}
	return &Checkpoint{
		Stage: stage, Epoch: epoch, Partial: partial, Step: 100*epoch + partial, Score: score,
		Metadata: map[string]string{"config": "abc"},
		Tensors: []safetensors.Tensor{
			{Name: "head.weight", Shape: []int{50, 100}, Data: w},
			{Name: "optimizer.step", Shape: []int{1}, Data: []float32{float32(100*epoch + partial)}},
		},
	}
}

func save(t *testing.T, r *Run, epoch, partial int, score float64) *Checkpoint {
	t.Helper()
	c := testCheckpoint("meta", epoch, partial, score)
	if err := r.Save(c); err != nil {
		t.Fatal(err)
	}
	return c
}

// sameWeights reports whether got has the weights of testCheckpoint.
func sameWeights(got *Checkpoint) bool {
	want := testCheckpoint(got.Stage, got.Epoch, got.Partial, got.Score)
	return got.Step == want.Step && reflect.DeepEqual(got.Tensors, want.Tensors) && reflect.DeepEqual(got.Metadata, want.Metadata)
}

func files(t *testing.T, r *Run) []string {
	t.Helper()
	entries, err := os.ReadDir(stageDir(r.Dir(), "meta"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestLastTwoAndBestAreKept(t *testing.T) {
	r := newRun(t)
	// Sorted as text, 10 would come before 9.
	for epoch, score := range []float64{math.NaN(), 10, 30, 20, 30, 29, math.NaN(), 1, 1, 1, 1} {
		save(t, r, epoch, 0, score)
	}
	want := []string{"best.safetensors", "checkpoint-10.safetensors", "checkpoint-9.safetensors"}
	if got := files(t, r); !reflect.DeepEqual(got, want) {
		t.Errorf("kept %v, want %v", got, want)
	}
	c, warnings, err := LoadLatest(r.Dir(), "meta")
	if err != nil || warnings != nil || c.Epoch != 10 || !sameWeights(c) {
		t.Errorf("latest: %+v, %v, %v; want epoch 10", c, warnings, err)
	}
	c, err = LoadBest(r.Dir(), "meta")
	if err != nil || c.Epoch != 2 || c.Score != 30 || !sameWeights(c) {
		t.Errorf("best: epoch %d, %v; want 2, the earlier of two equals", c.Epoch, err)
	}
	save(t, r, 10, 7, math.NaN())
	if c, _, err := LoadLatest(r.Dir(), "meta"); err != nil || c.Partial != 7 || !sameWeights(c) {
		t.Errorf("latest within an epoch: %+v, %v", c, err)
	}
	if got := files(t, r); !reflect.DeepEqual(got, []string{"best.safetensors", "checkpoint-10-7.safetensors", "checkpoint-10.safetensors"}) {
		t.Errorf("kept %v", got)
	}
	s := stateOf(t, r)
	if got := s.Stage("meta").Checkpoint; got != "stages/meta/checkpoint-10-7.safetensors" {
		t.Errorf("events name %s", got)
	}
}

func stateOf(t *testing.T, r *Run) *State {
	t.Helper()
	events, err := ReadEvents(r.Dir())
	if err != nil {
		t.Fatal(err)
	}
	return Fold(events)
}

func TestCorruptCheckpointFallsBackAndIsNamed(t *testing.T) {
	for name, spoil := range map[string]func(data []byte) []byte{
		"bit flip":         func(b []byte) []byte { b[len(b)-9000] ^= 1; return b },
		"bit flip in head": func(b []byte) []byte { b[bytes.Index(b, []byte(`"epoch":"2"`))+9] = '3'; return b },
		"cut":              func(b []byte) []byte { return b[:len(b)-1] },
		"cut in head":      func(b []byte) []byte { return b[:20] },
		"empty":            func(b []byte) []byte { return nil },
		"zeros":            func(b []byte) []byte { return make([]byte, len(b)) },
		"garbage head":     func(b []byte) []byte { copy(b, "garbage garbage"); return b },
		"longer":           func(b []byte) []byte { return append(b, 0) },
		"no seal": func(b []byte) []byte {
			return bytes.Replace(b, []byte("hatchery.sha256"), []byte("hatchery.sha25X"), 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRun(t)
			save(t, r, 1, 0, math.NaN())
			bad := save(t, r, 2, 0, math.NaN()).Path
			data, _ := os.ReadFile(bad)
			if err := os.WriteFile(bad, spoil(data), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := resume(r)
			if err != nil || c == nil || c.Epoch != 1 || !sameWeights(c) {
				t.Fatalf("loaded %+v, %v; want epoch 1", c, err)
			}
			s := stateOf(t, r)
			if len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0].Message, bad) {
				t.Errorf("warnings %+v, want one that names %s", s.Warnings, bad)
			}
			if st := s.Stage("meta"); st.Phase != Running || st.Epoch != 1 || st.Step != 100 {
				t.Errorf("state %+v, want running after epoch 1", st)
			}
			save(t, r, 2, 0, math.NaN())
			if c, warnings, err := LoadLatest(r.Dir(), "meta"); err != nil || len(warnings) > 0 || c.Epoch != 2 {
				t.Errorf("after saving again: %v, %v", warnings, err)
			}
		})
	}
}

func TestCheckpointUnderAnotherNameIsRefused(t *testing.T) {
	r := newRun(t)
	one := save(t, r, 1, 0, math.NaN())
	if err := os.Rename(one.Path, filepath.Join(filepath.Dir(one.Path), "checkpoint-7.safetensors")); err != nil {
		t.Fatal(err)
	}
	if _, warnings, err := LoadLatest(r.Dir(), "meta"); !errors.Is(err, ErrNoCheckpoint) || len(warnings) != 1 {
		t.Errorf("%v, %v; want one warning and ErrNoCheckpoint", warnings, err)
	}
}

func TestResumeFromNothing(t *testing.T) {
	r := newRun(t)
	if c, err := resume(r); c != nil || err != nil {
		t.Errorf("%v, %v; want nothing", c, err)
	}
}

func TestCheckpointsOfALostFutureGo(t *testing.T) {
	r := newRun(t)
	for epoch := range 6 {
		save(t, r, epoch, 0, math.NaN())
	}
	save(t, r, 4, 50, math.NaN()) // resumed from 4, since 5 was not usable
	if got := files(t, r); !reflect.DeepEqual(got, []string{"checkpoint-4-50.safetensors", "checkpoint-4.safetensors"}) {
		t.Errorf("kept %v", got)
	}
}

func TestStageEnd(t *testing.T) {
	r := newRun(t)
	if _, err := LoadFinal(r.Dir(), "meta"); !errors.Is(err, ErrNoCheckpoint) {
		t.Errorf("before its end: error %v", err)
	}
	if err := r.FinishStage(testCheckpoint("meta", 1, 0, 1), nil); err == nil {
		t.Error("a checkpoint that was not saved ended a stage")
	}
	c := save(t, r, 3, 0, 50)
	if err := r.FinishStage(c, Values{Top1: 50, "gain": math.NaN()}); err != nil {
		t.Fatal(err)
	}
	o, err := ReadOutcome(r.Dir(), "meta")
	if err != nil || o.Values[Top1] != 50 || o.Epoch != 3 || o.SHA256 != c.SHA256 || !math.IsNaN(o.Values["gain"]) {
		t.Errorf("outcome %+v, %v", o, err)
	}
	if got, err := LoadFinal(r.Dir(), "meta"); err != nil || !sameWeights(got) {
		t.Errorf("final: %v", err)
	}
	if st := stateOf(t, r).Stage("meta"); st.Phase != Finished || st.Results[Top1] != 50 {
		t.Errorf("state %+v", st)
	}
	// Replace the final checkpoint with another valid one.
	other := testCheckpoint("meta", 3, 0, 50)
	other.Tensors[0].Data[0]++
	if err := r.Save(other); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadFinal(r.Dir(), "meta"); err == nil || !strings.Contains(err.Error(), "checkpoint-3.safetensors: not the checkpoint") {
		t.Errorf("other weights: error %v", err)
	}
}

func TestSaveRefuses(t *testing.T) {
	r := newRun(t)
	for want, spoil := range map[string]func(*Checkpoint){
		`stage "../x"`:            func(c *Checkpoint) { c.Stage = "../x" },
		"must not be negative":    func(c *Checkpoint) { c.Partial = -1 },
		`key "epoch" is reserved`: func(c *Checkpoint) { c.Metadata["epoch"] = "1" },
		"does not fit":            func(c *Checkpoint) { c.Tensors[0].Shape[0]++ },
		"for the seal":            func(c *Checkpoint) { c.Metadata["hatchery.sha256"] = "1" },
		`two tensors are named "`: func(c *Checkpoint) { c.Tensors[1] = c.Tensors[0] },
	} {
		c := testCheckpoint("meta", 1, 0, 1)
		spoil(c)
		if err := r.Save(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	if got := files(t, r); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
	if s := stateOf(t, r); len(s.Stages) != 0 {
		t.Errorf("announced: %+v", s.Stages)
	}
}

// resume is Resume for stage meta, the only stage of most tests.
func resume(r *Run) (*Checkpoint, error) {
	all, err := r.Resume("meta")
	if len(all) == 0 || err != nil {
		return nil, err
	}
	return all[0], nil
}

// TestResumeTogether checks that stages that train together resume from the latest position at
// which all of them have a usable checkpoint.
func TestResumeTogether(t *testing.T) {
	r := newRun(t)
	saveStage := func(stage string, epoch int) string {
		c := &Checkpoint{Stage: stage, Epoch: epoch, Step: 100 * epoch, Score: math.NaN(),
			Tensors: []safetensors.Tensor{{Name: stage, Shape: []int{1}, Data: []float32{float32(epoch)}}}}
		if err := r.Save(c); err != nil {
			t.Fatal(err)
		}
		return c.Path
	}
	check := func(want int) {
		t.Helper()
		all, err := r.Resume("a", "b")
		if err != nil {
			t.Fatal(err)
		}
		if want == 0 {
			if all != nil {
				t.Fatalf("resumed from epoch %d, want nothing", all[0].Epoch)
			}
			return
		}
		if len(all) != 2 || all[0].Stage != "a" || all[1].Stage != "b" || all[0].Epoch != want || all[1].Epoch != want {
			t.Fatalf("resumed %+v, want both at epoch %d", all, want)
		}
	}
	check(0)
	saveStage("a", 1)
	check(0) // killed before b was saved
	saveStage("b", 1)
	check(1)
	saveStage("a", 2)
	saveStage("b", 2)
	check(2)
	saveStage("a", 3)
	check(2)
	spoiled := filepath.Join(stageDir(r.Dir(), "b"), "checkpoint-2.safetensors")
	if err := os.WriteFile(spoiled, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	check(0) // a keeps only its last two
	if s := stateOf(t, r); len(s.Warnings) != 1 || s.Warnings[0].Stage != "b" {
		t.Errorf("warnings %+v, want one of b", s.Warnings)
	}
}

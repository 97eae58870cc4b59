package runs

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestDamagedBest damages the best checkpoint between two processes. The second process must
// warn and replace it with the best of the remaining ones. It must neither keep the damaged
// file nor let the next checkpoint become the best.
func TestDamagedBest(t *testing.T) {
	for what, damage := range map[string]func(path string) error{
		"header": func(path string) error { return flipByte(path, 20) },
		"data":   func(path string) error { return flipByte(path, -50) },
		"size":   func(path string) error { return os.Truncate(path, 5000) },
	} {
		t.Run(what, func(t *testing.T) {
			r := newRun(t)
			for epoch, score := range []float64{10, 90, 20, 30, math.NaN()} {
				save(t, r, epoch, 0, score)
			}
			best := filepath.Join(stageDir(r.Dir(), "meta"), bestName)
			if err := damage(best); err != nil { // epoch 1, whose checkpoint has been deleted
				t.Fatal(err)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			r, err := Open(r.Dir())
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if _, err := r.Resume("meta"); err != nil {
				t.Fatal(err)
			}
			if c, err := LoadBest(r.Dir(), "meta"); err != nil || c.Epoch != 3 || c.Score != 30 {
				t.Errorf("resumed: %+v, %v; want the best of the others, epoch 3", c, err)
			}
			save(t, r, 5, 0, 25)
			save(t, r, 6, 0, 40)
			save(t, r, 7, 0, 35)
			if c, err := LoadBest(r.Dir(), "meta"); err != nil || c.Epoch != 6 || c.Score != 40 {
				t.Errorf("later: %+v, %v; want epoch 6", c, err)
			}
			said := stateOf(t, r).Warnings
			if len(said) != 1 || !strings.Contains(said[0].Message, best) || !strings.Contains(said[0].Message, "the best of the others, after epoch 3, replaces it") {
				t.Errorf("said %+v", said)
			}
		})
	}
}

// TestDamagedBestIsALink checks a best checkpoint that is a link to a remaining one, and the
// case that no remaining checkpoint was evaluated.
func TestDamagedBestIsALink(t *testing.T) {
	r := newRun(t)
	save(t, r, 1, 0, 50)
	last := save(t, r, 2, 0, math.NaN())
	if err := flipByte(filepath.Join(stageDir(r.Dir(), "meta"), bestName), -50); err != nil {
		t.Fatal(err)
	}
	delete(r.best, "meta") // as in a new process
	if err := r.checkBest(last); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadBest(r.Dir(), "meta"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("best: %v, want none", err)
	}
	save(t, r, 3, 0, 1)
	if c, err := LoadBest(r.Dir(), "meta"); err != nil || c.Epoch != 3 {
		t.Errorf("best: %+v, %v", c, err)
	}
}

// TestBestIsReadOnce checks that the best checkpoint is not read at every save, and not at all
// if this process has read it before.
func TestBestIsReadOnce(t *testing.T) {
	r := newRun(t)
	save(t, r, 1, 0, 50)
	best := filepath.Join(stageDir(r.Dir(), "meta"), bestName)
	if err := flipByte(best, -50); err != nil { // which only reading the file would find
		t.Fatal(err)
	}
	save(t, r, 2, 0, 40)
	save(t, r, 3, 0, 45)
	if _, err := LoadBest(r.Dir(), "meta"); err == nil {
		t.Error("best was read again")
	}
}

func flipByte(path string, at int) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	data[(at+len(data))%len(data)] ^= 1
	return os.WriteFile(path, data, 0o600)
}

// TestIdentity checks that the identity of a stage is read back from its checkpoints, from its
// outcome, and from a run that takes it over.
func TestIdentity(t *testing.T) {
	root := t.TempDir()
	r, err := Create(root, "run", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	id := &Identity{
		Recipe: map[string]string{"seed": "0", "model.name": `"a \"quoted\" word"`},
		Data:   Data{Classes: []string{"cat", "dög\n"}, Train: Images{40, "abc"}, Eval: Images{16, "def"}, Epoch: 40, Part: "part 1 of 2 (seed 0)"},
		Inputs: map[string]string{"meta": "123"},
	}
	c := testCheckpoint("meta", 1, 0, 1)
	c.Identity, c.Weights = id, "789"
	if err := r.Save(c); err != nil {
		t.Fatal(err)
	}
	if err := r.FinishStage(c, Values{Top1: 1}); err != nil {
		t.Fatal(err)
	}
	other, err := Create(root, "other", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := other.TakeOver(r.Dir(), "meta"); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{r.Dir(), other.Dir()} {
		if got, err := LoadFinal(dir, "meta"); err != nil || !reflect.DeepEqual(got.Identity, id) || !sameWeights(got) {
			t.Errorf("the final checkpoint says %+v, %v", got, err)
		}
		if got, err := LatestHeader(dir, "meta"); err != nil || !reflect.DeepEqual(got.Identity, id) || got.Tensors[0].Data != nil {
			t.Errorf("the header says %+v, %v", got, err)
		}
		if o, err := ReadOutcome(dir, "meta"); err != nil || !reflect.DeepEqual(o.Identity, id) || o.Weights != "789" {
			t.Errorf("the end says %+v, %v", o, err)
		}
	}
}

package runs

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"hatchery/engine/runs/safetensors"
)

// testCheckpoint holds weights that tell which epoch they are of.
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

// sameWeights says whether got is what testCheckpoint made and a file gave back.
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
	// 9 and 10 would change places if names sorted as text.
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
	save(t, r, 4, 50, math.NaN()) // resumed from 4, since 5 was of no use
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
	// Other weights in the final checkpoint's place, sound by themselves.
	other := testCheckpoint("meta", 3, 0, 50)
	other.Tensors[0].Data[0]++
	if err := r.Save(other); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadFinal(r.Dir(), "meta"); err == nil || !strings.Contains(err.Error(), "checkpoint-3.safetensors: this is not the checkpoint") {
		t.Errorf("other weights: error %v", err)
	}
}

func TestSaveRefuses(t *testing.T) {
	r := newRun(t)
	for want, spoil := range map[string]func(*Checkpoint){
		`stage "../x"`:            func(c *Checkpoint) { c.Stage = "../x" },
		"cannot be negative":      func(c *Checkpoint) { c.Partial = -1 },
		`key "epoch" is taken`:    func(c *Checkpoint) { c.Metadata["epoch"] = "1" },
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

// mortal is a disk on which the process dies at the nth operation: a write
// stops half way and nothing after it happens. With power it is the machine
// that dies, and what was not synced goes with it: file contents, and changes
// of names in folders.
type mortal struct {
	osDisk
	left    int
	power   bool
	dirty   []string // files with unsynced content
	pending []func() // undo of name changes since the folder was synced
	dead    bool
}

var errDead = errors.New("killed")

// step counts an operation and says whether the process still lives.
func (m *mortal) step() bool {
	if m.dead {
		return false
	}
	if m.left--; m.left >= 0 {
		return true
	}
	m.dead = true
	if m.power {
		for _, undo := range slices.Backward(m.pending) {
			undo()
		}
		for _, path := range m.dirty {
			os.Truncate(path, 0)
		}
	}
	return false
}

func (m *mortal) create(path string) (diskFile, error) {
	if !m.step() {
		return nil, errDead
	}
	f, err := m.osDisk.create(path)
	m.dirty = append(m.dirty, path)
	return &mortalFile{f.(*os.File), m}, err
}

type mortalFile struct {
	*os.File
	m *mortal
}

func (f *mortalFile) Write(p []byte) (int, error) {
	// Small pieces, so that there are many moments to die.
	for i, part := range slices.Collect(slices.Chunk(p, 4096)) {
		if !f.m.step() {
			if !f.m.power {
				f.File.Write(part[:len(part)/2])
			}
			return i * 4096, errDead
		}
		f.File.Write(part)
	}
	return len(p), nil
}

func (f *mortalFile) Sync() error {
	if !f.m.step() {
		return errDead
	}
	f.m.dirty = slices.DeleteFunc(f.m.dirty, func(p string) bool { return p == f.Name() })
	return nil
}

func (m *mortal) rename(from, to string) error {
	old, readErr := os.ReadFile(to)
	if !m.step() {
		return errDead
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	for i, p := range m.dirty {
		if p == from {
			m.dirty[i] = to
		}
	}
	m.pending = append(m.pending, func() {
		os.WriteFile(from, data, 0o600)
		os.Remove(to) // may share its content with another name
		if readErr == nil {
			os.WriteFile(to, old, 0o600)
		}
	})
	return m.osDisk.rename(from, to)
}

func (m *mortal) link(from, to string) error {
	if !m.step() {
		return errDead
	}
	return m.osDisk.link(from, to)
}

// remove survives a power cut at once: the worst case for what is deleted.
func (m *mortal) remove(path string) error {
	if !m.step() {
		return errDead
	}
	return m.osDisk.remove(path)
}

func (m *mortal) syncDir(path string) error {
	if !m.step() {
		return errDead
	}
	m.pending = nil
	return nil
}

func TestDeathAtEveryMomentOfSave(t *testing.T) {
	for _, power := range []bool{false, true} {
		sawOld, sawNew := 0, 0
		for n := 0; ; n++ {
			r := newRun(t)
			save(t, r, 1, 0, 10)
			save(t, r, 2, 0, 20)
			m := &mortal{left: n, power: power}
			r.disk = m
			err := r.Save(testCheckpoint("meta", 3, 0, 30))
			if (err != nil) != m.dead {
				t.Fatalf("operation %d, power %v: error %v", n, power, err)
			}
			announced := stateOf(t, r).Stage("meta").Checkpoint
			r.Close()

			again, err := Open(r.Dir())
			if err != nil {
				t.Fatal(err)
			}
			c, err := resume(again)
			if err != nil || c == nil || !sameWeights(c) || c.Epoch < 2 {
				t.Fatalf("operation %d, power %v: resumed %+v, %v", n, power, c, err)
			}
			if s := stateOf(t, again); len(s.Warnings) != 0 {
				t.Fatalf("operation %d, power %v: %v", n, power, s.Warnings)
			}
			if strings.Contains(announced, "-3.") && c.Epoch != 3 {
				t.Fatalf("operation %d, power %v: announced before it was durable", n, power)
			}
			best, err := LoadBest(again.Dir(), "meta")
			if err != nil || best.Epoch != c.Epoch || !sameWeights(best) {
				t.Fatalf("operation %d, power %v: best is %+v, %v; want epoch %d", n, power, best, err, c.Epoch)
			}
			// The resumed run goes on as if nothing had been.
			save(t, again, 3, 0, 30)
			save(t, again, 4, 0, 5)
			want := []string{"best.safetensors", "checkpoint-3.safetensors", "checkpoint-4.safetensors"}
			if got := files(t, again); !reflect.DeepEqual(got, want) {
				t.Fatalf("operation %d, power %v: %v, want %v", n, power, got, want)
			}
			again.Close()
			if c.Epoch == 2 {
				sawOld++
			} else {
				sawNew++
			}
			if !m.dead {
				break
			}
		}
		if sawOld < 5 || sawNew < 5 {
			t.Errorf("power %v: %d deaths left the old and %d the new checkpoint: too few to mean anything", power, sawOld, sawNew)
		}
	}
}

// TestFailedSaveLeavesNoRest is a full disk rather than a death.
func TestFailedSaveLeavesNoRest(t *testing.T) {
	r := newRun(t)
	save(t, r, 1, 0, math.NaN())
	r.disk = &fullDisk{}
	if err := r.Save(testCheckpoint("meta", 2, 0, 1)); err == nil || !strings.Contains(err.Error(), "checkpoint of meta at epoch 2, step 200: ") {
		t.Errorf("error %v", err)
	}
	if got := files(t, r); !reflect.DeepEqual(got, []string{"checkpoint-1.safetensors"}) {
		t.Errorf("left %v", got)
	}
}

type fullDisk struct{ osDisk }

func (d *fullDisk) create(path string) (diskFile, error) {
	f, err := d.osDisk.create(path)
	return &fullFile{f}, err
}

type fullFile struct{ diskFile }

func (f *fullFile) Write(p []byte) (int, error) {
	n, _ := f.diskFile.Write(p[:len(p)/3])
	return n, errors.New("no space left on device")
}

// TestKilledWriter kills a process that saves without pause.
func TestKilledWriter(t *testing.T) {
	if dir := os.Getenv("HATCHERY_TEST_RUN"); dir != "" {
		r, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		c, err := resume(r)
		if err != nil {
			t.Fatal(err)
		}
		epoch := 0
		if c != nil {
			if !sameWeights(c) {
				t.Fatal("resumed from wrong weights")
			}
			epoch = c.Epoch
		}
		for {
			epoch++
			save(t, r, epoch, 0, float64(epoch%7))
			fmt.Println("saved", epoch)
		}
	}
	r := newRun(t)
	r.Close()
	for i := range 5 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWriter$")
		cmd.Env = append(os.Environ(), "HATCHERY_TEST_RUN="+r.Dir())
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(60+37*i) * time.Millisecond)
		// The last one comes after a checkpoint, however slow the machine is.
		for last := time.Now().Add(time.Minute); i == 4 && time.Now().Before(last); time.Sleep(10 * time.Millisecond) {
			if _, _, err := LoadLatest(r.Dir(), "meta"); err == nil {
				break
			}
		}
		cmd.Process.Kill()
		cmd.Wait()
		if strings.Contains(out.String(), "FAIL") {
			t.Fatalf("kill %d: %s", i, out.String())
		}
		if l, err := ReadLiveness(r.Dir(), time.Now()); err != nil || l.Alive != IsCrashed && l.Alive != IsFinished {
			t.Errorf("kill %d: liveness %v, %v; want crashed", i, l, err)
		}
		var saved int
		lines := strings.Split(out.String(), "saved ")
		fmt.Sscan(lines[len(lines)-1], &saved)
		c, warnings, err := LoadLatest(r.Dir(), "meta")
		if saved == 0 && errors.Is(err, ErrNoCheckpoint) {
			continue // killed before the first
		}
		if err != nil || len(warnings) > 0 || c.Epoch < saved || !sameWeights(c) {
			t.Fatalf("kill %d: %v, %v: epoch %d was saved", i, warnings, err, saved)
		}
	}
	if _, _, err := LoadLatest(r.Dir(), "meta"); err != nil {
		t.Errorf("no kill came after a checkpoint: %v", err)
	}
}

// resume is Resume for the one stage of most tests.
func resume(r *Run) (*Checkpoint, error) {
	all, err := r.Resume("meta")
	if len(all) == 0 || err != nil {
		return nil, err
	}
	return all[0], nil
}

// TestResumeTogether: stages that train together go on from where all of them
// have a checkpoint that can be used.
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

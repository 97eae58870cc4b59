package runs

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// mortal is a disk on which the process dies at the nth operation: a write stops half way, and
// later operations fail. With power set, it simulates a power failure: unsynced file contents
// and unsynced changes of names are lost.
type mortal struct {
	osDisk
	left    int
	power   bool
	dirty   []string // files with unsynced content
	pending []func() // undo changes of names since the folder was synced
	dead    bool
}

var errDead = errors.New("killed")

// step counts an operation and reports whether the process is still alive.
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
	// Small pieces, so that there are many points of failure.
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

// remove takes effect at once, even if the power fails: the worst case for the deleted file.
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
			// The resumed run continues normally.
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

// TestFailedSaveLeavesNoRest checks that a save on a full disk leaves no temporary file.
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
		// The last kill comes after a checkpoint, even on a slow machine.
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
			continue // killed before the first checkpoint
		}
		if err != nil || len(warnings) > 0 || c.Epoch < saved || !sameWeights(c) {
			t.Fatalf("kill %d: %v, %v: epoch %d was saved", i, warnings, err, saved)
		}
	}
	if _, _, err := LoadLatest(r.Dir(), "meta"); err != nil {
		t.Errorf("no kill came after a checkpoint: %v", err)
	}
}

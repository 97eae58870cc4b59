package runs

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// lostAfter calls do with the folder of a run that has saved epoch 1, and returns the run after
// its next heartbeat.
func lostAfter(t *testing.T, root string, do func(dir string) error) (r *Run) {
	t.Helper()
	r, err := Create(root, "test", []byte("name = \"test\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	save(t, r, 1, 0, 50)
	time.Sleep(beatEvery)
	synctest.Wait()
	if err := r.LostCause(); err != nil {
		t.Fatalf("before anything happened: %v", err)
	}
	if err := do(r.Dir()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(beatEvery + glitch)
	synctest.Wait()
	select {
	case <-r.Lost():
	default:
		t.Fatal("nothing was noticed")
	}
	return r
}

// unchanged fails if something below dir is written while f runs.
func unchanged(t *testing.T, dir string, f func()) {
	t.Helper()
	look := func() string {
		var all strings.Builder
		filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
			if err == nil {
				data, _ := os.ReadFile(path)
				all.WriteString(path + info.ModTime().String() + string(data) + "\n")
			}
			return nil
		})
		return all.String()
	}
	before := look()
	f()
	if after := look(); after != before {
		t.Errorf("%s was\n%s\nand is\n%s", dir, before, after)
	}
}

// TestMovedFolder checks that a run notices that its folder was moved, that what it saves
// while stopping goes to its folder, and that nothing appears at the old path.
func TestMovedFolder(t *testing.T) {
	for _, stranger := range []bool{false, true} { // whether there is another run at its path
		root := t.TempDir()
		now := filepath.Join(root, "moved")
		synctest.Test(t, func(t *testing.T) {
			var dir string
			r := lostAfter(t, root, func(d string) error {
				dir = d
				if err := os.Rename(d, now); err != nil || !stranger {
					return err
				}
				return os.CopyFS(d, os.DirFS(now))
			})
			cause := r.LostCause()
			if !errors.Is(cause, ErrFolderLost) {
				t.Errorf("cause %v", cause)
			}
			wantWords(t, cause, dir, " was moved to "+now, "the last checkpoint is of stage meta, epoch 1, step 100, in "+filepath.Join(now, "stages/meta/checkpoint-1.safetensors"), "hatchery resume "+now)
			unchanged(t, dir, func() {
				c := testCheckpoint("meta", 1, 40, math.NaN())
				if err := r.Save(c); err != nil {
					t.Error(err)
				}
				if err := r.SaveTuning("module-1", []byte("1")); err != nil { // a stage that has no folder yet
					t.Error(err)
				}
				last := testCheckpoint("meta", 2, 0, 60)
				if err := errors.Join(r.Save(last), r.FinishStage(last, nil)); err != nil {
					t.Error(err)
				}
				if err := errors.Join(r.Emit(Event{Kind: Error, Message: "moved"}), r.Finish(Failed, r.LostCause().Error()), r.Close()); err != nil {
					t.Error(err)
				}
			})
			if _, err := os.Stat(dir); stranger != (err == nil) {
				t.Errorf("the old place: %v", err)
			}
			wantWords(t, r.LostCause(), "epoch 2, step 200")
		})
		if s, err := ReadStatus(now); err != nil || s.Phase != Failed || !strings.Contains(s.Message, "was moved to") {
			t.Errorf("status %+v, %v", s, err)
		}
		if final, err := LoadFinal(now, "meta"); err != nil || final.Epoch != 2 || !sameWeights(final) {
			t.Errorf("final %+v, %v", final, err)
		}
		if state, err := ReadState(t.Context(), now); err != nil || state.Phase != Failed || len(state.Errors) != 1 {
			t.Errorf("state %+v, %v", state, err)
		}
		r, err := Open(now)
		if err != nil {
			t.Fatal(err)
		}
		// Work that needs paths is done by the process that resumes the run.
		all, err := r.Resume("meta")
		if err != nil || all[0].Epoch != 2 {
			t.Errorf("resumed from %+v, %v", all, err)
		}
		if best, err := LoadBest(now, "meta"); err != nil || best.Epoch != 2 {
			t.Errorf("best %+v, %v", best, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestDeletedFolder checks that a deleted folder is not recreated, whether or not something
// else is at its path.
func TestDeletedFolder(t *testing.T) {
	for name, instead := range map[string]func(dir string) error{
		"nothing": func(string) error { return nil },
		"folder":  func(dir string) error { return os.Mkdir(dir, 0o755) },
		"file":    func(dir string) error { return os.WriteFile(dir, nil, 0o644) },
		"below a file": func(dir string) error {
			root := filepath.Dir(dir)
			return errors.Join(os.Remove(root), os.WriteFile(root, nil, 0o644))
		},
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				r := lostAfter(t, filepath.Join(base, "runs"), func(dir string) error {
					return errors.Join(os.RemoveAll(dir), instead(dir))
				})
				wantWords(t, r.LostCause(), r.Dir(), "was deleted, with all its checkpoints", "epoch 1, step 100")
				unchanged(t, base, func() {
					if err := r.Save(testCheckpoint("meta", 2, 0, 60)); !errors.Is(err, ErrFolderLost) {
						t.Errorf("saved: %v", err)
					}
					if err := r.SaveTuning("meta", nil); !errors.Is(err, ErrFolderLost) {
						t.Errorf("saved a tuning: %v", err)
					}
					if err := errors.Join(r.Finish(Failed, "lost"), r.Close()); err != nil {
						t.Error(err)
					}
				})
			})
		})
	}
}

// TestLossIsNoticedBySaving checks that Save notices a lost folder before the heartbeat does.
func TestLossIsNoticedBySaving(t *testing.T) {
	r := newRun(t)
	save(t, r, 1, 0, 50)
	if err := os.RemoveAll(r.Dir()); err != nil {
		t.Fatal(err)
	}
	if err := r.Save(testCheckpoint("meta", 2, 0, 60)); !errors.Is(err, ErrFolderLost) {
		t.Errorf("saved: %v", err)
	}
	if _, err := os.Stat(r.Dir()); err == nil {
		t.Error("the folder was made anew")
	}
	select {
	case <-r.Lost():
	default:
		t.Error("who waits for it was not told")
	}
}

// TestFilesReplaced checks that a run notices that files in its folder were replaced.
func TestFilesReplaced(t *testing.T) {
	rewrite := func(path string) error { // as rsync does
		data, err := os.ReadFile(path)
		temp := path + ".new"
		return errors.Join(err, os.WriteFile(temp, data, 0o644), os.Rename(temp, path))
	}
	for name, c := range map[string]struct {
		do    func(dir string) error
		saves bool // whether the run can still save
		words string
	}{
		"lock deleted":     {func(dir string) error { return os.Remove(filepath.Join(dir, lockFile)) }, false, "lock was deleted"},
		"lock replaced":    {func(dir string) error { return rewrite(filepath.Join(dir, lockFile)) }, false, "lock was replaced"},
		"events deleted":   {func(dir string) error { return os.Remove(filepath.Join(dir, eventsFile)) }, true, "events.jsonl was deleted"},
		"events restored":  {func(dir string) error { return rewrite(filepath.Join(dir, eventsFile)) }, true, "events.jsonl was deleted, replaced"},
		"events truncated": {func(dir string) error { return os.Truncate(filepath.Join(dir, eventsFile), 3) }, true, "truncated"},
		"status of another process": {func(dir string) error {
			s, err := ReadStatus(dir)
			s.PID, s.Host = 77, "elsewhere"
			return errors.Join(err, writeStatus(osDisk{}, filepath.Join(dir, statusFile), filepath.Join(dir, "x"), s))
		}, false, "process 77 on elsewhere has been writing the same run"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				r := lostAfter(t, root, c.do)
				wantWords(t, r.LostCause(), c.words, "stages/meta/checkpoint-1.safetensors")
				check := testCheckpoint("meta", 2, 0, 60)
				if err := r.Save(check); c.saves != (err == nil) {
					t.Errorf("saved: %v", err)
				}
				if err := errors.Join(r.Finish(Failed, "lost"), r.Close()); err != nil {
					t.Error(err)
				}
				s, err := ReadStatus(r.Dir())
				if err != nil || c.saves != (s.Phase == Failed) {
					t.Errorf("status %+v, %v", s, err)
				}
			})
		})
	}
}

// TestLinkedStages checks a run whose stages folder is a link to another place.
func TestLinkedStages(t *testing.T) {
	dir := closedRun(t)
	there := t.TempDir()
	if err := os.Symlink(there, filepath.Join(dir, stagesDir)); err != nil {
		t.Fatal(err)
	}
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := save(t, r, 1, 0, 50)
	if err := r.FinishStage(c, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadFinal(dir, "meta"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(there, "meta", doneName)); err != nil {
		t.Error(err)
	}
}

// TestCreateIn checks that CreateIn does not create the root.
func TestCreateIn(t *testing.T) {
	root := filepath.Join(t.TempDir(), "runs")
	if r, err := CreateIn(root, "test", nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v, %v", r, err)
	}
	if _, err := os.Lstat(root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the root was made: %v", err)
	}
}

// TestHeldFolder checks that another folder at the same path is not mistaken for the held one.
func TestHeldFolder(t *testing.T) {
	base := t.TempDir()
	path, moved := filepath.Join(base, "folder"), filepath.Join(base, "moved")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	h, err := HoldFolder(path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if now, err := h.Lost(); err != nil {
		t.Errorf("in its place: %s, %v", now, err)
	}
	if err := errors.Join(os.Rename(path, moved), os.Mkdir(path, 0o755)); err != nil {
		t.Fatal(err)
	}
	if now, err := h.Lost(); now != moved || err == nil {
		t.Errorf("moved, and another in its place: %s, %v", now, err)
	}
	if err := os.Remove(moved); err != nil {
		t.Fatal(err)
	}
	if now, err := h.Lost(); now != "" || err == nil || !strings.Contains(err.Error(), "was deleted") {
		t.Errorf("deleted: %s, %v", now, err)
	}
}

package pipeline

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hatchery/engine/runs"
)

// TestCheckpointSizes compares the estimated sizes of checkpoints with the files of a run.
func TestCheckpointSizes(t *testing.T) {
	c := config(t, "train.ema=0.9", "e2e.ema=0", "meta.eval_every=1", "model.width=64", "run.together=false")
	dir := executeAll(t, c)
	estimates, err := Plan(t.Context(), c, TrainImages(c))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range estimates {
		for _, f := range e.Checkpoints {
			files, err := filepath.Glob(filepath.Join(runs.StageDir(dir, f.Stage), "*.safetensors"))
			if err != nil || len(files) == 0 {
				t.Fatalf("%s: %v, %v", f.Stage, files, err)
			}
			for _, file := range files {
				info, err := os.Stat(file)
				if err != nil {
					t.Fatal(err)
				}
				if off := float64(f.Bytes)/float64(info.Size()) - 1; off > 0.02 || off < -0.02 {
					t.Errorf("%s has %d bytes, %d were estimated: %+.1f %%", file, info.Size(), f.Bytes, 100*off)
				}
			}
			if took, most := folderBytes(runs.StageDir(dir, f.Stage)), int64(f.Kept)*f.Bytes; float64(took) > 1.02*float64(most) {
				t.Errorf("%s keeps %d bytes, %d at most were estimated", f.Stage, took, most)
			}
		}
	}
	if left := diskNeeded(estimates, dir); left > diskNeeded(estimates, t.TempDir())/2 {
		t.Errorf("a run that is done needs %d bytes more", left)
	}
}

// TestResumeOnAFullDisk checks that a run that has little left to write can be resumed although
// its checkpoints fill the disk.
func TestResumeOnAFullDisk(t *testing.T) {
	c := config(t, "model.width=64", "run.together=false")
	all, err := Plan(t.Context(), c, TrainImages(c))
	if err != nil {
		t.Fatal(err)
	}
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=64m"); err != nil {
		t.Skip("a file system of a given size takes root:", err) // which the containers of CI may lack
	}
	defer unix.Unmount(disk, unix.MNT_DETACH)
	run, err := runs.Create(disk, "run", c.TOML())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(Execute(t.Context(), c, run, nil), run.Close()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(runs.StageDir(run.Dir(), "e2e"), "done")); err != nil {
		t.Fatal(err)
	}
	// Fill the disk except for what the last stage may write.
	var last Files
	for _, e := range all {
		if e.Name == "e2e" {
			last = e.Checkpoints[0]
		}
	}
	leave := func(bytes int64) {
		t.Helper()
		filler := filepath.Join(disk, "filler")
		os.Remove(filler)
		var s unix.Statfs_t
		if err := unix.Statfs(disk, &s); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filler, make([]byte, int64(s.Bavail)*s.Bsize-bytes), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	leave(int64(last.Kept+1) * last.Bytes)
	if err := CheckUnfinished(t.Context(), c, run.Dir()); err != nil {
		t.Errorf("with room for all checkpoints of the last stage: %v", err)
	}
	if err := Check(t.Context(), c, disk); err == nil || !strings.Contains(err.Error(), "the checkpoints need up to") {
		t.Errorf("a new run there: %v", err)
	}
	leave(last.Bytes / 2)
	if err := CheckUnfinished(t.Context(), c, run.Dir()); err == nil || !strings.Contains(err.Error(), "free some space, or set HATCHERY_RUNS") {
		t.Errorf("without room for a checkpoint: %v", err)
	}
}

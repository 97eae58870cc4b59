package runs

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// TestFullDisk runs on a small disk that another process fills. The run must report the reason
// of its end, and continue once there is room.
func TestFullDisk(t *testing.T) {
	for name, options := range map[string]string{"blocks": "size=512k", "inodes": "size=4m,nr_inodes=24"} {
		t.Run(name, func(t *testing.T) {
			disk := t.TempDir()
			if err := unix.Mount("tmpfs", disk, "tmpfs", 0, options); err != nil {
				t.Skip("a small disk cannot be mounted:", err)
			}
			t.Cleanup(func() { unix.Unmount(disk, unix.MNT_DETACH) })
			synctest.Test(t, func(t *testing.T) {
				r, err := Create(filepath.Join(disk, "runs"), "test", []byte("name = \"test\"\n"))
				if err != nil {
					t.Fatal(err)
				}
				save(t, r, 1, 0, math.NaN())
				fill(t, filepath.Join(disk, "other"))

				last := time.Now()
				time.Sleep(2 * beatEvery)
				synctest.Wait()
				if s, err := ReadStatus(r.Dir()); err != nil || !s.Heartbeat.After(last) {
					t.Errorf("no heartbeat: %+v, %v", s, err)
				}
				saveErr := r.Save(testCheckpoint("meta", 2, 0, math.NaN()))
				if !errors.Is(saveErr, syscall.ENOSPC) {
					t.Fatalf("saved on a full disk: %v", saveErr)
				}
				if left, _ := filepath.Glob(filepath.Join(r.Dir(), "stages", "meta", "*.tmp")); left != nil {
					t.Errorf("left %v", left)
				}
				fill(t, filepath.Join(disk, "more"))
				emitErr := r.Emit(Event{Kind: Error, Message: saveErr.Error()})
				t.Logf("the last event: %v", emitErr)
				if err := r.Finish(Failed, saveErr.Error()); err != nil {
					t.Error(err)
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
				l, err := ReadLiveness(r.Dir(), time.Now())
				if err != nil || l.String() != "failed" || !strings.Contains(l.Status.Message, "no space left on device") {
					t.Errorf("%v, %q, %v", l, l.Status.Message, err)
				}

				if err := errors.Join(os.RemoveAll(filepath.Join(disk, "other")), os.RemoveAll(filepath.Join(disk, "more"))); err != nil {
					t.Fatal(err)
				}
				next, err := Open(r.Dir())
				if err != nil {
					t.Fatal(err)
				}
				if all, err := next.Resume("meta"); err != nil || len(all) != 1 || all[0].Epoch != 1 {
					t.Errorf("resumed from %v, %v", all, err)
				}
				save(t, next, 2, 0, math.NaN())
				mustClose(t, next)
			})
		})
	}
}

// fill uses up all blocks and all inodes of a disk with files in dir.
func fill(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		return // no inodes left
	}
	f, err := os.Create(filepath.Join(dir, "blocks"))
	if err != nil {
		return
	}
	defer f.Close()
	zeros := make([]byte, 4096)
	for range 2048 {
		if _, err = f.Write(zeros); err != nil {
			break
		}
	}
	for i := range 100 {
		path := filepath.Join(dir, strings.Repeat("i", i+1))
		if os.WriteFile(path, nil, 0o644) != nil {
			break
		}
	}
}

// TestTornStatus reads a status that is being overwritten.
func TestTornStatus(t *testing.T) {
	r := newRun(t)
	path := filepath.Join(r.Dir(), statusFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, whole[:len(whole)/2], 0o644); err != nil {
		t.Fatal(err)
	}
	mended := make(chan error)
	go func() {
		time.Sleep(5 * time.Millisecond)
		mended <- osDisk{}.overwrite(path, whole)
	}()
	if s, err := ReadStatus(r.Dir()); err != nil || s.PID != os.Getpid() {
		t.Errorf("%+v, %v", s, err)
	}
	if err := <-mended; err != nil {
		t.Fatal(err)
	}
	// A status that is shorter than the previous one leaves no rest of that.
	if err := (osDisk{}).overwrite(path, []byte(`{"phase":"failed"}`)); err != nil {
		t.Fatal(err)
	}
	if s, err := ReadStatus(r.Dir()); err != nil || s.Phase != Failed {
		t.Errorf("%+v, %v", s, err)
	}
	// A permanently damaged status, after a power failure, does not prevent resuming the
	// run.
	mustClose(t, r)
	if err := os.WriteFile(path, whole[:len(whole)/2], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadStatus(r.Dir()); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a broken status: %v", err)
	}
	next, err := Open(r.Dir())
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, next)
}

// TestIrregularFiles checks that an irregular file in place of a file is an error that names
// it, and that opening it does not block.
func TestIrregularFiles(t *testing.T) {
	put := map[string]func(path string) error{
		"a named pipe": func(path string) error { return unix.Mkfifo(path, 0o644) },
		"a folder":     func(path string) error { return os.Mkdir(path, 0o755) },
		"a socket": func(path string) error {
			return unix.Mknod(path, unix.S_IFSOCK|0o644, 0)
		},
		"a device": func(path string) error { return os.Symlink("/dev/zero", path) },
	}
	for file, read := range map[string]func(dir string) error{
		configFile:                             func(dir string) error { _, err := ReadConfig(dir); return err },
		statusFile:                             func(dir string) error { _, err := ReadStatus(dir); return err },
		eventsFile:                             func(dir string) error { _, err := ReadEvents(dir); return err },
		lockFile:                               func(dir string) error { _, err := Open(dir); return err },
		logFile:                                func(dir string) error { _, err := Open(dir); return err },
		"stages/meta/" + doneName:              func(dir string) error { _, err := ReadOutcome(dir, "meta"); return err },
		"stages/meta/" + tuningName:            func(dir string) error { _, err := ReadTuning(dir, "meta"); return err },
		"stages/meta/" + bestName:              func(dir string) error { _, err := LoadBest(dir, "meta"); return err },
		"stages/meta/checkpoint-2.safetensors": func(dir string) error { return firstWarning(LoadLatest(dir, "meta")) },
		"attempts/meta.1.json": func(dir string) error {
			all, err := ReadAttempts(dir, time.Now())
			if err == nil && len(all) == 1 {
				err = errors.New(all[0].Status.Message)
			}
			return err
		},
		"attempts/meta.1.jsonl": func(dir string) error { _, err := ReadEvents(dir); return err },
	} {
		for what, put := range put {
			t.Run(file+" as "+what, func(t *testing.T) {
				dir := closedRun(t)
				if err := errors.Join(os.MkdirAll(filepath.Join(dir, "stages", "meta"), 0o755), os.Mkdir(filepath.Join(dir, "attempts"), 0o755)); err != nil {
					t.Fatal(err)
				}
				if strings.HasSuffix(file, ".json") && strings.HasPrefix(file, "attempts") {
					if err := os.WriteFile(filepath.Join(dir, "attempts", "meta.1.jsonl"), nil, 0o644); err != nil {
						t.Fatal(err)
					}
				}
				path := filepath.Join(dir, file)
				os.Remove(path)
				if err := put(path); err != nil {
					t.Skip("this file cannot be made here:", err)
				}
				// Opening for writing fails too, and does not block.
				for i, do := range []func(string) error{read, func(dir string) error {
					r, err := Open(dir)
					if err == nil {
						err = r.Close()
					}
					return err
				}} {
					got := make(chan error, 1)
					go func() { got <- do(dir) }()
					select {
					case err := <-got:
						if i == 0 && (err == nil || !strings.Contains(err.Error(), path+" is "+what+", not a file")) {
							t.Error(err)
						}
					case <-time.After(10 * time.Second):
						t.Fatal("it waits")
					}
				}
			})
		}
	}
}

func firstWarning(_ *Checkpoint, warnings []string, err error) error {
	if len(warnings) > 0 {
		return errors.New(warnings[0])
	}
	return err
}

// TestTempsInTheWay checks that writing replaces a pipe or a link at the path of a temporary
// file, and does not write through it.
func TestTempsInTheWay(t *testing.T) {
	r := newRun(t)
	save(t, r, 1, 0, 50)
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	stage := filepath.Join(r.Dir(), "stages", "meta")
	for _, path := range []string{filepath.Join(stage, "checkpoint.tmp"), filepath.Join(stage, "done.tmp"), filepath.Join(stage, "autotune.tmp"), r.statusTempPath()} {
		if err := os.Symlink(victim, path); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(stage, "best.tmp"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := save(t, r, 2, 0, 60)
	if err := errors.Join(r.SaveTuning("meta", []byte("1")), r.SetStage("meta", ""), r.FinishStage(c, nil)); err != nil {
		t.Error(err)
	}
	if data, err := os.ReadFile(victim); err != nil || string(data) != "precious" {
		t.Errorf("what a link names is %q, %v", data, err)
	}
	if left, _ := filepath.Glob(filepath.Join(stage, "*.tmp")); left != nil {
		t.Errorf("left %v", left)
	}
}

// TestSparseCheckpoint checks that a file larger than the memory is an error before memory is
// allocated for it.
func TestSparseCheckpoint(t *testing.T) {
	r := newRun(t)
	c := save(t, r, 1, 0, 50)
	save(t, r, 2, 0, 60)
	big := filepath.Join(filepath.Dir(c.Path), "checkpoint-2.safetensors")
	header := `{"__metadata__":{"hatchery.sha256":"` + strings.Repeat("0", 64) + `","stage":"meta","epoch":"2","partial":"0","step":"200","score":"60"},` +
		`"w":{"dtype":"F32","shape":[274877906944],"data_offsets":[0,1099511627776]}}`
	header += strings.Repeat(" ", -len(header)&7)
	length := []byte{byte(len(header)), byte(len(header) >> 8), 0, 0, 0, 0, 0, 0}
	if err := os.WriteFile(big, append(length, header...), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, int64(8+len(header))+1<<40); err != nil {
		t.Skip("this file system has no files of 1 TiB:", err)
	}
	_, err := LoadCheckpoint(big)
	wantWords(t, err, big, "1.0 TiB, but this process can have only")
	if got, warnings, err := LoadLatest(r.Dir(), "meta"); err != nil || got.Epoch != 1 || len(warnings) != 1 {
		t.Errorf("%+v, %v, %v", got, warnings, err)
	}
	// The same for a status of that size.
	if err := os.Truncate(filepath.Join(r.Dir(), statusFile), 1<<40); err != nil {
		t.Fatal(err)
	}
	_, err = ReadStatus(r.Dir())
	wantWords(t, err, statusFile, "larger than 16 MiB")
}

// TestSyncIsNamedOnce checks that an error names the path once. A folder of /proc cannot be
// synced.
func TestSyncIsNamedOnce(t *testing.T) {
	for _, path := range []string{"/proc/self/fd", filepath.Join(t.TempDir(), "missing")} {
		if err := syncDir(path); err == nil || strings.Count(err.Error(), path) != 1 {
			t.Error(err)
		}
	}
}

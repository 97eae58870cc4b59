package runs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gofrs/flock"
)

// noLocks is a file system on which every lock fails.
func noLocks(errno syscall.Errno) locking {
	return func(path string, create bool) locker {
		f := flocks(path, create)
		f.TryLock() // creates the file
		f.Close()
		return failing{errno}
	}
}

type failing struct{ errno syscall.Errno }

func (f failing) TryLock() (bool, error)  { return false, f.errno }
func (f failing) TryRLock() (bool, error) { return false, f.errno }
func (f failing) Close() error            { return nil }

// otherNode returns lockers that do not conflict with those of this process.
var otherNode locking = func(path string, create bool) locker {
	f := flocks(path, create)
	f.TryRLock()
	f.Close()
	return granted{}
}

type granted struct{}

func (granted) TryLock() (bool, error)  { return true, nil }
func (granted) TryRLock() (bool, error) { return true, nil }
func (granted) Close() error            { return nil }

func openWith(t *testing.T, dir string, locks locking) (*Run, error) {
	t.Helper()
	r, err := open(t.Context(), dir, nil, locks)
	if err == nil {
		r.startHeartbeat()
	}
	return r, err
}

func mustClose(t *testing.T, r *Run) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// beatElsewhere makes a run look like one on another host.
func beatElsewhere(r *Run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Host, r.status.Process = "elsewhere", Process{Boot: "other", Namespace: "n", Start: 1}
	r.writeStatus()
}

// silence ends a run like SIGKILL: the status is not updated.
func silence(r *Run) {
	close(r.stop)
	r.heartbeat.Wait()
	r.release()
}

// TestWithoutLocks checks that runs can be created, opened and resumed if flock(2) fails, and
// that the heartbeat shows whether there is a writer.
func TestWithoutLocks(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSYS, syscall.ENOLCK, syscall.EOPNOTSUPP, syscall.ENOTSUP} {
		t.Run(errno.Error(), func(t *testing.T) {
			root := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				locks := noLocks(errno)
				r, err := create(root, "test", nil, locks)
				if err != nil {
					t.Fatal(err)
				}
				dir := r.Dir()
				if err := r.Save(testCheckpoint("meta", 1, 0, 1)); err != nil {
					t.Error(err)
				}
				is := func(want Alive) {
					t.Helper()
					if l, err := locks.readLiveness(dir, time.Now()); err != nil || l.Alive != want || l.Alive != IsFinished && !l.Status.Unlocked {
						t.Errorf("liveness %+v, %v; want %v", l, err, want)
					}
				}
				is(IsRunning)
				if _, err := openWith(t, dir, locks); !errors.Is(err, ErrLocked) {
					t.Errorf("a second writer: %v", err)
				}
				if _, err := openStage(t.Context(), dir, "meta", Claim{}, locks); !errors.Is(err, ErrLocked) {
					t.Errorf("a writer of a stage: %v", err)
				}
				// From another host, which sees the heartbeat.
				beatElsewhere(r)
				from := time.Now()
				if _, err := openWith(t, dir, locks); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "on elsewhere since") {
					t.Errorf("a second writer on another host: %v", err)
				}
				if waited := time.Since(from); waited > beatEvery+time.Second {
					t.Errorf("it took %v to hear a heartbeat", waited)
				}
				// The process dies; the clock of its host was an hour ahead.
				silence(r)
				r.status.Heartbeat = time.Now().Add(time.Hour)
				if err := writeStatus(osDisk{}, r.statusPath(), r.statusTempPath(), r.status); err != nil {
					t.Fatal(err)
				}
				is(IsRunning)
				from = time.Now()
				next, err := openWith(t, dir, locks)
				if err != nil {
					t.Fatalf("after a crash: %v", err)
				}
				if waited := time.Since(from); waited < stalledAfter {
					t.Errorf("taken over after %v", waited)
				}
				is(IsRunning)
				if all, err := next.Resume("meta"); err != nil || len(all) != 1 {
					t.Errorf("resumed from %v, %v", all, err)
				}
				mustClose(t, next)
				is(IsFinished)
			})
		})
	}
}

// TestTwoAtOnceWithoutLocks checks that if two hosts open a run at the same time, the one that
// writes the status last gets it.
func TestTwoAtOnceWithoutLocks(t *testing.T) {
	dir := closedRun(t)
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(dir, statusFile)
		other := func() {
			s, err := ReadStatus(dir)
			s.Host, s.Process = "elsewhere", Process{Boot: "other", Namespace: "n", Start: 1}
			if err = errors.Join(err, writeStatus(osDisk{}, path, path+".x", s)); err != nil {
				t.Error(err)
			}
		}
		time.AfterFunc(settleTime/2, other)
		if _, err := openWith(t, dir, noLocks(syscall.ENOLCK)); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "elsewhere") {
			t.Errorf("the first has it: %v", err)
		}
		// The status of the other host appears after this one has started.
		s, err := ReadStatus(dir)
		s.Phase = Stopped
		if err = errors.Join(err, writeStatus(osDisk{}, path, path+".x", s)); err != nil {
			t.Fatal(err)
		}
		r, err := openWith(t, dir, noLocks(syscall.ENOLCK))
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(beatEvery/2, other)
		<-r.Lost()
		wantWords(t, r.LostCause(), "elsewhere has been writing the same run")
		mustClose(t, r)
		if s, err = ReadStatus(dir); err != nil || s.Host != "elsewhere" || s.Phase != Running {
			t.Errorf("the status is %+v, %v", s, err)
		}
	})
}

// TestLocksOfOneNode checks locks that nodes do not share: another node gets the lock although
// the first process is alive, or was only suspended.
func TestLocksOfOneNode(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r, err := Create(root, "test", nil)
		if err != nil {
			t.Fatal(err)
		}
		beatElsewhere(r)
		watched := 0
		_, err = open(t.Context(), r.Dir(), func(s Status) { watched = s.PID }, otherNode)
		if !errors.Is(err, ErrLocked) || watched != os.Getpid() {
			t.Errorf("a run that lives on another node: %v, watched %d", err, watched)
		}
		if _, err := openStage(t.Context(), r.Dir(), "meta", Claim{}, otherNode); !errors.Is(err, ErrLocked) {
			t.Errorf("a stage of a run that lives on another node: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := open(ctx, r.Dir(), func(Status) { cancel() }, otherNode); !errors.Is(err, context.Canceled) {
			t.Errorf("whoever watches can leave: %v", err)
		}

		// The first process is suspended, seems dead, and wakes up.
		close(r.stop)
		r.heartbeat.Wait()
		next, err := openWith(t, r.Dir(), otherNode)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Save(testCheckpoint("meta", 1, 0, 1)); !errors.Is(err, ErrFolderLost) || !strings.Contains(err.Error(), "has been writing the same run") {
			t.Errorf("the first saved: %v", err)
		}
		if err := next.Save(testCheckpoint("meta", 1, 0, 1)); err != nil {
			t.Errorf("the second: %v", err)
		}
		r.stop = make(chan struct{})
		mustClose(t, r)
		if s, err := ReadStatus(r.Dir()); err != nil || s.Phase != Running {
			t.Errorf("the status is %+v, %v", s, err)
		}
		mustClose(t, next)
	})
}

// TestAttemptsOfOtherNodes checks that heartbeats of attempts on other nodes prevent opening
// the whole run.
func TestAttemptsOfOtherNodes(t *testing.T) {
	dir := closedRun(t)
	synctest.Test(t, func(t *testing.T) {
		r, err := openStage(t.Context(), dir, "meta", Claim{}, flocks)
		if err != nil {
			t.Fatal(err)
		}
		r.startHeartbeat()
		beatElsewhere(r)
		if _, err := openWith(t, dir, otherNode); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "elsewhere") {
			t.Errorf("the whole run: %v", err)
		}
		mustClose(t, r)
	})
}

// TestDeadContainer checks a writer in another PID namespace: its lock shows whether it is
// alive, its PID does not.
func TestDeadContainer(t *testing.T) {
	root := t.TempDir()
	for _, stage := range []string{"", "meta"} {
		synctest.Test(t, func(t *testing.T) {
			dir := filepath.Join(root, "test"+stage)
			r, err := Create(root, "test"+stage, nil)
			if err == nil && stage != "" {
				mustClose(t, r)
				time.Sleep(time.Second)
				r, err = openStage(t.Context(), dir, stage, Claim{}, flocks)
			}
			if err != nil {
				t.Fatal(err)
			}
			r.mu.Lock()
			r.status.Host, r.status.Process.Namespace, r.status.PID = "container", "other", 7
			r.writeStatus()
			r.mu.Unlock()
			is := func(want Alive) {
				t.Helper()
				if l, err := ReadLiveness(dir, time.Now()); err != nil || l.Alive != want {
					t.Errorf("stage %q: %v, %v, want %v", stage, l.Alive, err, want)
				}
			}
			is(IsRunning)
			close(r.stop)
			r.heartbeat.Wait()
			time.Sleep(stalledAfter + time.Second)
			is(IsStalled) // its lock is still held
			r.release()
			is(IsCrashed)
			// There is nothing to wait for.
			from := time.Now()
			next, err := Open(dir)
			if err != nil || time.Since(from) > time.Second {
				t.Fatalf("opened after %v, %v", time.Since(from), err)
			}
			mustClose(t, next)
		})
	}
}

// TestLockedByWhom checks that the error names the processes that write the run, and none that
// are gone.
func TestLockedByWhom(t *testing.T) {
	dir := closedRun(t)
	// The last process that executed the whole run is gone, but the lock file names it.
	if err := os.WriteFile(filepath.Join(dir, lockFile), []byte("pid 99999999 on "+"x"+" since 2020-01-01T00:00:00Z\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	one, two := stageRun(t, dir, "meta", Claim{}), stageRun(t, dir, "e2e", Claim{})
	_, err := Open(dir)
	if !errors.Is(err, ErrLocked) || strings.Contains(err.Error(), "99999999") {
		t.Errorf("error %v", err)
	}
	wantWords(t, err, "at stage meta", "at stage e2e", one.status.describeWriter())
	if err := errors.Join(one.Close(), two.Close()); err != nil {
		t.Fatal(err)
	}
	// A process that has not written a status yet.
	stranger := flock.New(filepath.Join(dir, lockFile))
	if ok, err := stranger.TryLock(); !ok || err != nil {
		t.Fatal(ok, err)
	}
	defer stranger.Close()
	if _, err = Open(dir); !errors.Is(err, ErrLocked) || strings.Contains(err.Error(), "pid") {
		t.Errorf("error %v", err)
	}
	wantWords(t, err, "has not written a status yet")
}

// TestReadersAreNotInTheWay checks that ReadLiveness, which briefly takes a shared lock, does
// not prevent opening the run.
func TestReadersAreNotInTheWay(t *testing.T) {
	dir := closedRun(t)
	l := flock.New(filepath.Join(dir, lockFile))
	if ok, err := l.TryRLock(); !ok || err != nil {
		t.Fatal(ok, err)
	}
	time.AfterFunc(lockWithin/4, func() { l.Close() })
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, r)
}

// TestCopies checks that no process owns a copy of a folder that is being written, however it
// was copied, and that the folder under another name is the same folder.
func TestCopies(t *testing.T) {
	r := newRun(t)
	save(t, r, 1, 0, 50)
	stage := stageRunOf(t)
	for _, dir := range []string{r.Dir(), stage.Dir()} {
		copied := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		is := func(dir string, want Alive) {
			t.Helper()
			if l, err := ReadLiveness(dir, time.Now()); err != nil || l.Alive != want {
				t.Errorf("%s: %v, %v; want %v", dir, l, err, want)
			}
		}
		is(dir, IsRunning)
		is(copied, IsCrashed)
		if _, err := Open(dir); !errors.Is(err, ErrLocked) {
			t.Errorf("the original: %v", err)
		}
		from := time.Now()
		c, err := Open(copied)
		if err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(from); waited > time.Second {
			t.Errorf("it took %v to open the copy", waited)
		}
		is(copied, IsRunning)
		is(dir, IsRunning)
		mustClose(t, c)
		is(copied, IsFinished)

		link := filepath.Join(t.TempDir(), "link")
		if err := os.Symlink(dir, link); err != nil {
			t.Fatal(err)
		}
		is(link, IsRunning)
		if _, err := Open(link); !errors.Is(err, ErrLocked) {
			t.Errorf("by a link: %v", err)
		}
	}
	// A copy with a status of an older version, which lacks the identity of the folder.
	old := filepath.Join(t.TempDir(), "old")
	if err := os.CopyFS(old, os.DirFS(r.Dir())); err != nil {
		t.Fatal(err)
	}
	s, err := ReadStatus(old)
	if err != nil {
		t.Fatal(err)
	}
	s.Folder = FolderID{}
	if err := writeStatus(osDisk{}, filepath.Join(old, statusFile), filepath.Join(old, "x"), s); err != nil {
		t.Fatal(err)
	}
	if l, err := ReadLiveness(old, time.Now()); err != nil || l.Alive != IsCrashed {
		t.Errorf("a copy of an older version's: %v, %v", l, err)
	}
}

// stageRunOf returns a run of which one stage is being executed.
func stageRunOf(t *testing.T) *Run { return stageRun(t, closedRun(t), "meta", Claim{}) }

func wantWords(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("error %v, want %q in it", err, w)
		}
	}
}

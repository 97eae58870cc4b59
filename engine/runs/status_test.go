package runs

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// TestHeartbeat runs in a synctest bubble, which also fails if the heartbeat continues after
// Close.
func TestHeartbeat(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r, err := Create(root, "test", nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			time.Sleep(beatEvery)
			synctest.Wait()
			if l, err := ReadLiveness(r.Dir(), time.Now()); err != nil || l.Alive != IsRunning || l.Silent > 0 {
				t.Errorf("liveness %v, %v, silent for %v", l, err, l.Silent)
			}
		}
		r.Close()
		last, _ := ReadStatus(r.Dir())
		time.Sleep(time.Minute)
		if s, err := ReadStatus(r.Dir()); err != nil || s != last || s.Phase != Stopped {
			t.Errorf("status %+v, %v after Close; want %+v", s, err, last)
		}
	})
}

func TestProcessStart(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells processes apart")
	}
	if a, b := thisProcess(), thisProcess(); a != b || a.Start == 0 || a.Boot == "" || a.Namespace == "" {
		t.Errorf("this process is %+v and %+v", a, b)
	}
	// A name with spaces and parentheses must not shift the fields.
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip(err)
	}
	odd := filepath.Join(t.TempDir(), "a) Z (b")
	if err := os.Symlink(sleep, odd); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(odd, "60")
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	if child, own := processStart(cmd.Process.Pid), processStart(os.Getpid()); child < own {
		t.Errorf("the child started at %d, before this process at %d", child, own)
	}
	cmd.Process.Kill()
	for processStart(cmd.Process.Pid) != 0 { // until it is a zombie, which counts as gone
		time.Sleep(time.Millisecond)
	}
	cmd.Wait()
	if got := processStart(cmd.Process.Pid); got != 0 {
		t.Errorf("a process that is gone started at %d", got)
	}
}

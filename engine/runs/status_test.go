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

// TestHeartbeat runs in a bubble of its own time, which also fails if the
// heartbeat goes on after Close.
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

func TestLiveness(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	here := Process{Boot: "b", Namespace: "n", Start: 100}
	// Process 7 of this machine started at tick 50; there is no other.
	start := func(pid int) uint64 {
		if pid == 7 {
			return 50
		}
		return 0
	}
	good := Status{Phase: Running, PID: 7, Process: Process{"b", "n", 50}, Host: "h", Heartbeat: now.Add(-2 * time.Second)}
	for name, c := range map[string]struct {
		change func(*Status)
		want   string
	}{
		"as it should be":      {func(s *Status) {}, "running"},
		"late heartbeat":       {func(s *Status) { s.Heartbeat = now.Add(-42 * time.Second) }, "stalled 42s"},
		"heartbeat to come":    {func(s *Status) { s.Heartbeat = now.Add(time.Hour) }, "running"},
		"process gone":         {func(s *Status) { s.PID = 8 }, "crashed"},
		"pid used again":       {func(s *Status) { s.Process.Start = 49 }, "crashed"},
		"machine restarted":    {func(s *Status) { s.Process.Boot = "a" }, "crashed"},
		"other host":           {func(s *Status) { s.Host = "i"; s.PID = 8; s.Process.Boot = "a" }, "running"},
		"other host, silent":   {func(s *Status) { s.Host = "i"; s.Heartbeat = now.Add(-time.Minute) }, "stalled 1m0s"},
		"other container":      {func(s *Status) { s.Process.Namespace = "m"; s.PID = 8 }, "running"},
		"writer without /proc": {func(s *Status) { s.Process = Process{} }, "running"},
		"paused":               {func(s *Status) { s.Phase = Paused }, "paused"},
		"paused and gone":      {func(s *Status) { s.Phase = Paused; s.PID = 8 }, "crashed"},
		"paused and silent":    {func(s *Status) { s.Phase = Paused; s.Heartbeat = now.Add(-42 * time.Second) }, "stalled 42s"},
		"interrupted":          {func(s *Status) { s.Phase = Stopped; s.PID = 8 }, "interrupted"},
		"done long ago":        {func(s *Status) { s.Phase = Finished; s.Heartbeat = time.Time{} }, "done"},
	} {
		s := good
		c.change(&s)
		if got := liveness(s, now, "h", here, start).String(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	s := good
	s.PID = 8
	if got := liveness(s, now, "h", Process{}, start).String(); got != "running" {
		t.Errorf("reader without /proc: %s, want running", got)
	}
}

func TestProcessStart(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells processes apart")
	}
	if a, b := machine(), machine(); a != b || a.Start == 0 || a.Boot == "" || a.Namespace == "" {
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

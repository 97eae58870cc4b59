package launch

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hatchery/engine/runs"
)

const nobody = 65534

// openToAll returns a folder that every user can enter, and a copy of this program in it.
func openToAll(t *testing.T) (root, exe string) {
	t.Helper()
	root, err := os.MkdirTemp("", "hatchery-launch-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	program, err := os.ReadFile(os.Args[0])
	exe = filepath.Join(root, "program")
	if err := errors.Join(err, os.Chmod(root, 0o755), os.WriteFile(exe, program, 0o755)); err != nil {
		t.Fatal(err)
	}
	return root, exe
}

// as runs this program in a role as another user and returns its output.
func as(t *testing.T, uid uint32, exe, role string, args ...string) string {
	t.Helper()
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// gone waits until a process does not exist any more.
func gone(t *testing.T, pid int, within time.Duration) {
	t.Helper()
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if syscall.Kill(pid, 0) != nil {
			return
		}
	}
	syscall.Kill(pid, syscall.SIGKILL)
	t.Fatalf("process %d is still there after %v", pid, within)
}

// noticed is how long a run may take to stop when its folder is lost: a
// heartbeat, a step and a checkpoint, on a busy machine.
const noticed = 20 * time.Second

// TestFolderMoved checks that a run whose folder is moved stops with a checkpoint of its last
// step in that folder, and reports the reason and the new path.
func TestFolderMoved(t *testing.T) {
	dir := start(t, t.TempDir(), endless)
	moreEpochs(t, dir, 2)
	process, moved := pid(t, dir), filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	gone(t, process, noticed)
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is there again: %v", dir, err)
	}
	live, err := runs.ReadLiveness(moved, time.Now())
	if err != nil || live.Alive != runs.IsFinished || live.Status.Phase != runs.Failed || !strings.Contains(live.Status.Message, moved) {
		t.Errorf("%v, %v: %s", live, err, live.Status.Message)
	}
	s := state(t, moved)
	if s.Phase != runs.Failed || len(s.Errors) != 1 || !strings.Contains(s.Errors[0].Message, "hatchery resume "+moved) {
		t.Errorf("%s, %+v", s.Phase, s.Errors)
	}
	// No training is lost, and the run can be resumed.
	c, warnings, err := runs.LoadLatest(moved, "e2e")
	if st := s.Stage("e2e"); err != nil || len(warnings) > 0 || c.Step < st.Step {
		t.Errorf("checkpoint of step %d, %v, %v; the events come to %d", c.Step, warnings, err, st.Step)
	}
	if err := Resume(t.Context(), moved, false); err != nil {
		t.Fatal(err)
	}
	killLater(t, moved)
	moreEpochs(t, moved, 1)
}

// TestFolderDeleted checks that a deleted folder is not recreated.
func TestFolderDeleted(t *testing.T) {
	for _, instead := range []string{"", "folder"} {
		dir := start(t, t.TempDir(), endless)
		moreEpochs(t, dir, 1)
		process := pid(t, dir)
		trash := filepath.Join(filepath.Dir(dir), "trash") // rm -r is too slow to win against a run that saves all the time
		if err := os.Rename(dir, trash); err != nil {
			t.Fatal(err)
		}
		var err error
		for range 1000 { // a last checkpoint may be written while the folder is emptied
			if err = os.RemoveAll(trash); err == nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		if err != nil {
			t.Fatal(err)
		}
		if instead != "" {
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		gone(t, process, noticed)
		left, err := filepath.Glob(filepath.Join(filepath.Dir(dir), "*", "*"))
		if _, statErr := os.Lstat(dir); err != nil || left != nil || instead == "" && statErr == nil {
			t.Errorf("left %v, %v", left, err)
		}
		os.Remove(dir) // otherwise killLater would kill it
	}
}

// TestCopyOfARunningRun checks that a copy counts as not running, and that stopping or killing
// it does not affect the original run.
func TestCopyOfARunningRun(t *testing.T) {
	dir := start(t, t.TempDir(), endless)
	moreEpochs(t, dir, 1)
	copied := filepath.Join(t.TempDir(), "copy")
	if out, err := exec.Command("cp", "-a", dir, copied).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := Kill(t.Context(), copied); !errors.Is(err, ErrNotRunning) {
		t.Errorf("killed: %v", err)
	}
	if _, err := Stop(t.Context(), copied); !errors.Is(err, ErrNotRunning) {
		t.Errorf("stopped: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if live, err := Wait(ctx, copied, nil); err != nil || live.Alive != runs.IsCrashed {
		t.Errorf("waited for: %v, %v", live, err)
	}
	moreEpochs(t, dir, 1)
	// Both can be resumed.
	if err := Resume(t.Context(), copied, false); err != nil {
		t.Fatal(err)
	}
	killLater(t, copied)
	moreEpochs(t, copied, 1)
	moreEpochs(t, dir, 1)
}

// TestBindMount checks that the same folder at another path is the same run.
func TestBindMount(t *testing.T) {
	dir := start(t, t.TempDir(), endless)
	there := t.TempDir()
	if err := unix.Mount(dir, there, "", unix.MS_BIND, ""); err != nil {
		t.Skip("nothing can be mounted:", err)
	}
	t.Cleanup(func() { unix.Unmount(there, unix.MNT_DETACH) })
	if live, err := runs.ReadLiveness(there, time.Now()); err != nil || live.Alive != runs.IsRunning {
		t.Errorf("%v, %v", live, err)
	}
	if err := Resume(t.Context(), there, false); !errors.Is(err, runs.ErrLocked) {
		t.Errorf("resumed: %v", err)
	}
	if _, err := Stop(t.Context(), there); err != nil {
		t.Errorf("stopped: %v", err)
	}
	if phase(t, dir) != runs.Stopped {
		t.Error("it was not stopped")
	}
}

// otherHost returns the output of this program in a role on a machine with another name and
// another boot id, which sees the same files but cannot connect to the socket.
func otherHost(t *testing.T, name, role, dir string) string {
	t.Helper()
	boot := filepath.Join(t.TempDir(), "boot_id")
	if err := os.WriteFile(boot, []byte("00000000-0000-4000-8000-000000000000\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("set -e; hostname %s; mount --bind %s /proc/sys/kernel/random/boot_id; mount --bind %s %s; exec %s %s",
		name, boot, boot, socketPath(dir), os.Args[0], dir)
	cmd := exec.Command("unshare", "--uts", "--mount", "sh", "-c", script)
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Skipf("there is no other host: %v: %s", err, out)
	}
	t.Logf("on %s:\n%s", name, out)
	return string(out)
}

// TestOtherHost checks that from a second machine a run can be watched, but not opened, stopped
// or killed. Once it is dead, it can be opened after waiting for its heartbeat.
func TestOtherHost(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make another host")
	}
	here, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	dir := start(t, t.TempDir(), endless)
	moreEpochs(t, dir, 1)
	for _, name := range []string{"other", here} { // containers often have the same name
		said := otherHost(t, name, "judge", dir)
		for _, want := range []string{"is: running", "another process", fmt.Sprintf("pid %d on %s", pid(t, dir), here), "can be killed only there", "can be controlled only there"} {
			if !strings.Contains(said, want) {
				t.Errorf("on %s: want %q in\n%s", name, want, said)
			}
		}
		if strings.Contains(said, "stop: <nil>") {
			t.Errorf("on %s: stopped:\n%s", name, said)
		}
	}
	moreEpochs(t, dir, 1)
	if err := syscall.Kill(pid(t, dir), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	from := time.Now()
	if said := otherHost(t, "other", "judge", dir); !strings.Contains(said, "open: taken") {
		t.Errorf("dead, from another host:\n%s", said)
	}
	if waited := time.Since(from); waited < 10*time.Second {
		t.Errorf("taken after %v", waited)
	}
}

// TestRootResumesARun checks that after root has resumed a user's run, the user can read and
// resume it.
func TestRootResumesARun(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can act as two users")
	}
	root, exe := openToAll(t)
	shared := filepath.Join(root, "runs")
	if err := errors.Join(os.Mkdir(shared, 0o777), os.Chmod(shared, 0o777)); err != nil {
		t.Fatal(err)
	}
	dir := strings.TrimSpace(as(t, nobody, exe, "maker", shared))
	if err := Resume(t.Context(), dir, false); err != nil {
		t.Fatal(err)
	}
	killLater(t, dir)
	moreEpochs(t, dir, 2)
	if _, err := Stop(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err = errors.Join(err, unix.Lstat(path, &st)); err == nil && st.Uid != nobody {
			t.Errorf("%s belongs to user %d", path, st.Uid)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if said := as(t, nobody, exe, "judge", dir); !strings.Contains(said, "is: interrupted") || !strings.Contains(said, "open: taken <nil>") {
		t.Errorf("the owner, afterwards:\n%s", said)
	}
}

// TestDeadContainer checks that a run whose container is gone counts as crashed outside, where
// its PID has no meaning, and that it can be resumed.
func TestDeadContainer(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make a container")
	}
	root := t.TempDir()
	preset := filepath.Join(root, "preset.toml")
	if err := os.WriteFile(preset, config(t, endless).TOML(), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", `"$0" "$@" & wait`, os.Args[0], preset, root)
	cmd.Env = append(os.Environ(), roleEnv+"=starter")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skip("there are no containers:", err)
	}
	end := sync.OnceFunc(func() { // this ends all processes of the container
		cmd.Process.Kill()
		cmd.Wait()
	})
	defer end()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Skip("there are no containers:", err)
	}
	dir := strings.TrimSpace(line)
	moreEpochs(t, dir, 1)
	s, err := runs.ReadStatus(dir)
	if err != nil || s.Local() {
		t.Fatalf("it is not in a container: %+v, %v", s, err)
	}
	if live, err := runs.ReadLiveness(dir, time.Now()); err != nil || live.Alive != runs.IsRunning {
		t.Errorf("%v, %v", live, err)
	}
	end()
	from := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	live, err := Wait(ctx, dir, nil)
	t.Logf("waited %v", time.Since(from))
	if err != nil || live.Alive != runs.IsCrashed {
		t.Errorf("waited for: %v, %v", live, err)
	}
	if err := Resume(t.Context(), dir, false); err != nil {
		t.Fatal(err)
	}
	killLater(t, dir)
	moreEpochs(t, dir, 1)
}

package launch

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hatchery/engine/runs"
)

func pid(t *testing.T, dir string) int {
	t.Helper()
	s, err := runs.ReadStatus(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s.PID
}

// terminal opens a pseudo-terminal.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// TestOutlivesItsStarter hangs up the terminal from which a run was started, as when a
// connection is lost, and then kills the rest of that session.
func TestOutlivesItsStarter(t *testing.T) {
	root := t.TempDir()
	preset := filepath.Join(root, "experiment.toml")
	if err := os.WriteFile(preset, config(t, endless).TOML(), 0o600); err != nil {
		t.Fatal(err)
	}
	master, slave := terminal(t)
	starter := exec.Command(os.Args[0], preset, root)
	starter.Env = append(os.Environ(), roleEnv+"=starter")
	starter.Stdin, starter.Stderr = slave, os.Stderr
	starter.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	out, err := starter.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := starter.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	dir, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	dir = strings.TrimSpace(dir)
	killLater(t, dir)

	master.Close()
	err = starter.Wait()
	if status, ok := starter.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGHUP {
		t.Fatalf("the starter ended with %v, want SIGHUP", err)
	}
	syscall.Kill(-starter.Process.Pid, syscall.SIGHUP)
	syscall.Kill(-starter.Process.Pid, syscall.SIGKILL)
	moreEpochs(t, dir, 3)

	session, err := unix.Getsid(pid(t, dir))
	if err != nil || session == starter.Process.Pid || session == pid(t, dir) {
		t.Errorf("the run %d is in session %d (%v), the starter was in %d: want one without a leader", pid(t, dir), session, err, starter.Process.Pid)
	}
	// Also SIGHUP from a service manager.
	syscall.Kill(pid(t, dir), syscall.SIGHUP)
	moreEpochs(t, dir, 3)
	if target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/0", pid(t, dir))); target != "/dev/null" {
		t.Errorf("its input is %q, %v", target, err)
	}
}

// TestCrash checks that a killed run counts as crashed, and that after resuming it ends with
// the weights of an uninterrupted run.
func TestCrash(t *testing.T) {
	const n = 8
	c := config(t, n)
	alone, err := runs.Create(t.TempDir(), "alone", c.TOML())
	if err != nil {
		t.Fatal(err)
	}
	if err := Execute(t.Context(), c, alone, Options{}); err != nil {
		t.Fatal(err)
	}

	dir := start(t, t.TempDir(), n)
	until(t, dir, "an epoch", func(s *runs.State) bool { return epochs(s) > 0 })
	// Pause first, since otherwise the run may end too soon.
	if _, err := Pause(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if _, err := Continue(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid(t, dir), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	live, err := Wait(t.Context(), dir, nil)
	if err != nil || live.Alive != runs.IsCrashed {
		t.Fatalf("liveness %v, %v; want crashed", live, err)
	}
	if _, err := os.Stat(socketPath(dir)); err != nil {
		t.Fatalf("this test wants the dead process's socket: %v", err)
	}
	if _, err := send(t.Context(), dir, doStatus, nil); !errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), "crashed") {
		t.Errorf("a request to it gives %v", err)
	}

	if err := Resume(t.Context(), dir, false); err != nil {
		t.Fatal(err)
	}
	if live, err := Wait(t.Context(), dir, nil); err != nil || live.Status.Phase != runs.Finished {
		t.Fatalf("resumed, it ended as %v, %v", live, err)
	}
	if s := state(t, dir); epochs(s) != n || s.Attempts != 2 {
		t.Errorf("%d epochs in %d attempts", epochs(s), s.Attempts)
	}
	want, err := runs.LoadFinal(alone.Dir(), "e2e")
	if err != nil {
		t.Fatal(err)
	}
	got, err := runs.LoadFinal(dir, "e2e")
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range want.Tensors {
		for j, x := range w.Data {
			if y := got.Tensors[i].Data[j]; math.Float32bits(x) != math.Float32bits(y) {
				t.Fatalf("%s[%d] is %v, want %v", w.Name, j, y, x)
			}
		}
	}
	if _, err := os.Stat(socketPath(dir)); err == nil {
		t.Error("the socket is still there")
	}
}

// TestStopWritesACheckpoint checks that a checkpoint has been saved when Stop returns, and that
// two viewers have seen the same events.
func TestStopWritesACheckpoint(t *testing.T) {
	for name, stop := range map[string]func(ctx context.Context, dir string) error{
		"request": func(ctx context.Context, dir string) error {
			reply, err := Stop(ctx, dir)
			if err == nil && !strings.Contains(reply.Message, "checkpoint") {
				t.Errorf("answered %q", reply.Message)
			}
			return err
		},
		"SIGTERM": func(ctx context.Context, dir string) error {
			err := syscall.Kill(pid(t, dir), syscall.SIGTERM)
			if _, err := Wait(ctx, dir, nil); err != nil {
				return err
			}
			run, openErr := Open(ctx, dir)
			if openErr != nil {
				return openErr
			}
			return errors.Join(err, run.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := start(t, t.TempDir(), endless)
			seen := make(chan []runs.Event, 2)
			for range 2 {
				go func() {
					var all []runs.Event
					for e, err := range runs.Follow(t.Context(), dir) {
						if err != nil {
							t.Error(err)
						}
						if all = append(all, e); e.Kind == runs.Interrupted {
							break
						}
					}
					seen <- all
				}()
			}
			moreEpochs(t, dir, 2)
			if err := stop(t.Context(), dir); err != nil {
				t.Fatal(err)
			}
			if phase(t, dir) != runs.Stopped {
				t.Errorf("status %v", phase(t, dir))
			}
			last, warnings, err := runs.LoadLatest(dir, "e2e")
			if err != nil || len(warnings) > 0 {
				t.Fatal(err, warnings)
			}
			s := state(t, dir)
			if st := s.Stage("e2e"); s.Phase != runs.Stopped || last.Step < st.Step || last.Epoch < epochs(s) {
				t.Errorf("%s with a checkpoint of step %d; step %d was reported", s.Phase, last.Step, st.Step)
			}
			free(t, dir)
			want, err := runs.ReadEvents(dir)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if got := <-seen; !reflect.DeepEqual(got, want) {
					t.Errorf("a viewer has seen %d events that differ from the %d of the run", len(got), len(want))
				}
			}
		})
	}
}

func TestStopAfterEpoch(t *testing.T) {
	dir := start(t, t.TempDir(), endless)
	moreEpochs(t, dir, 1)
	waits := ""
	reply, err := StopAfterEpoch(t.Context(), dir, func(r Reply) { waits = r.Message })
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(waits, "end of this epoch") || !reply.Final {
		t.Errorf("answered %q, then %+v", waits, reply)
	}
	last, _, err := runs.LoadLatest(dir, "e2e")
	if err != nil {
		t.Fatal(err)
	}
	if last.Partial != 0 || last.Epoch == 0 || last.Epoch != epochs(state(t, dir)) {
		t.Errorf("stopped %d steps beyond epoch %d, with %d epochs reported", last.Partial, last.Epoch, epochs(state(t, dir)))
	}
	free(t, dir)
}

// ticks returns the CPU time of a process, user and system, in clock ticks.
func ticks(t *testing.T, pid int) int {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	user, _ := strconv.Atoi(string(f[11]))
	system, _ := strconv.Atoi(string(f[12]))
	return user + system
}

func TestPause(t *testing.T) {
	dir := start(t, t.TempDir(), endless)
	reply, err := Pause(t.Context(), dir)
	if err != nil || !reply.Paused {
		t.Fatalf("answered %+v, %v", reply, err)
	}
	live, err := runs.ReadLiveness(dir, time.Now())
	if err != nil || live.Alive != runs.IsRunning || live.String() != "paused" {
		t.Errorf("liveness %v, %v; want paused", live, err)
	}
	if s := state(t, dir); s.Phase != runs.Paused {
		t.Errorf("phase %v", s.Phase)
	}
	before, used := len(mustRead(t, dir)), ticks(t, pid(t, dir))
	time.Sleep(500 * time.Millisecond) // 50 ticks of one busy core
	if now := ticks(t, pid(t, dir)); now-used > 2 {
		t.Errorf("a paused run used %d ticks", now-used)
	}
	if now := len(mustRead(t, dir)); now != before {
		t.Errorf("a paused run wrote %d events", now-before)
	}
	if _, err := StopAfterEpoch(t.Context(), dir, nil); err == nil {
		t.Error("a paused run would wait for ever for the end of its epoch")
	}
	if again, err := Pause(t.Context(), dir); err != nil || !again.Paused {
		t.Errorf("pausing it again: %+v, %v", again, err)
	}

	if reply, err = Continue(t.Context(), dir); err != nil || reply.Paused || phase(t, dir) != runs.Running {
		t.Fatalf("%v after %+v, %v", phase(t, dir), reply, err)
	}
	moreEpochs(t, dir, 2)
	if _, err := Pause(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if _, err := Stop(t.Context(), dir); err != nil {
		t.Errorf("stopping a paused run: %v", err)
	}
	if phase(t, dir) != runs.Stopped {
		t.Errorf("status %v", phase(t, dir))
	}
}

func mustRead(t *testing.T, dir string) []runs.Event {
	t.Helper()
	events, err := runs.ReadEvents(dir)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// TestKill also kills a process that does not react.
func TestKill(t *testing.T) {
	dir := start(t, t.TempDir(), endless)
	moreEpochs(t, dir, 1)
	p := pid(t, dir)
	if err := syscall.Kill(p, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := Kill(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if s := state(t, dir); s.Phase != runs.Stopped || phase(t, dir) != runs.Stopped || !strings.Contains(s.Message, "killed") {
		t.Errorf("%v: %q; status %v", s.Phase, s.Message, phase(t, dir))
	}
	if err := Kill(t.Context(), dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("killing it again: %v", err)
	}
}

// TestKillSparesOthers checks that Kill does not kill another process that now has the PID of a
// dead run.
func TestKillSparesOthers(t *testing.T) {
	dir := start(t, t.TempDir(), endless)
	syscall.Kill(pid(t, dir), syscall.SIGKILL)
	if _, err := Wait(t.Context(), dir, nil); err != nil {
		t.Fatal(err)
	}
	status := filepath.Join(dir, "status.json")
	data, err := os.ReadFile(status)
	if err != nil {
		t.Fatal(err)
	}
	mine := strings.Replace(string(data), fmt.Sprintf(`"pid": %d`, pid(t, dir)), fmt.Sprintf(`"pid": %d`, os.Getpid()), 1)
	if err := os.WriteFile(status, []byte(mine), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Kill(t.Context(), dir); !errors.Is(err, ErrNotRunning) { // otherwise it would kill this test
		t.Errorf("got %v", err)
	}
}

// TestOtherUsers checks that another user can read a run as far as the owner's umask allows, but
// cannot control it, even if the socket is open to all.
func TestOtherUsers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can act as another user")
	}
	root, exe := openToAll(t)
	dir := start(t, filepath.Join(root, "runs"), endless)
	try := func() string { return as(t, nobody, exe, "stranger", dir) }
	reads := "read its events\nread its status\n"
	if did := try(); !strings.HasPrefix(did, reads) || strings.Count(did, "\n") != 3 || !strings.Contains(did, "belongs to another user") {
		t.Errorf("another user:\n%s", did)
	}
	if err := os.Chmod(socketPath(dir), 0o666); err != nil {
		t.Fatal(err)
	}
	if did := try(); !strings.HasPrefix(did, reads) || strings.Count(did, "\n") != 3 || !strings.Contains(did, "belongs to user 0, and the request is from user 65534") {
		t.Errorf("another user, with the socket open:\n%s", did)
	}
	// Another user cannot open the run either, and the error names the owner.
	if did := as(t, nobody, exe, "judge", dir); !strings.Contains(did, "is: running") || !strings.Contains(did, "open: runs: cannot open "+dir+" for writing: it belongs to user 0") {
		t.Errorf("another user takes it:\n%s", did)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if did := try(); strings.Count(did, "\n") != 1 || !strings.Contains(did, "another user") {
		t.Errorf("another user, where the folder is closed to others:\n%s", did)
	}
	moreEpochs(t, dir, 1)
}

// TestLongPath checks a path that is too long for a socket address, which has at most 108 bytes.
func TestLongPath(t *testing.T) {
	root := filepath.Join(t.TempDir(), strings.Repeat("deep/", 30)+"runs")
	dir := start(t, root, endless)
	if len(socketPath(dir)) < 200 {
		t.Fatalf("%s is not long", dir)
	}
	if reply, err := send(t.Context(), dir, doStatus, nil); err != nil || reply.PID != pid(t, dir) {
		t.Errorf("answered %+v, %v", reply, err)
	}
	if _, err := Stop(t.Context(), dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(socketPath(dir)); err == nil {
		t.Error("the socket is still there")
	}
}

func TestOneProcessARun(t *testing.T) {
	dir := start(t, t.TempDir(), endless)
	if err := Resume(t.Context(), dir, false); !errors.Is(err, runs.ErrLocked) {
		t.Errorf("resuming a run under way: %v", err)
	}
	if phase(t, dir) != runs.Running {
		t.Errorf("status %v", phase(t, dir))
	}
	moreEpochs(t, dir, 1)
}

// TestStartFails checks that Start returns the error of the run's process, and that the run
// records it.
func TestStartFails(t *testing.T) {
	check := func(t *testing.T, dir string, err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		s, statusErr := runs.ReadStatus(dir)
		if statusErr != nil || s.Phase != runs.Failed || !strings.Contains(s.Message, want) {
			t.Errorf("status %v: %q, %v", s.Phase, s.Message, statusErr)
		}
		if s := state(t, dir); s.Phase != runs.Failed || len(s.Errors) != 1 {
			t.Errorf("%v with errors %v", s.Phase, s.Errors)
		}
		free(t, dir)
	}
	t.Run("before the run", func(t *testing.T) {
		run, err := runs.Create(t.TempDir(), "bad", []byte("no_such_key = 1\n"))
		if err != nil {
			t.Fatal(err)
		}
		if err := run.Close(); err != nil {
			t.Fatal(err)
		}
		check(t, run.Dir(), Resume(t.Context(), run.Dir(), false), "no_such_key")
	})
	t.Run("in the run", func(t *testing.T) {
		c := config(t, 1)
		c.Data.Name, c.Data.Root = "fashion-mnist", filepath.Join(t.TempDir(), "nothing-here")
		dir, err := Start(t.Context(), t.TempDir(), c, false)
		check(t, dir, err, "nothing-here")
	})
	t.Run("panic", func(t *testing.T) {
		t.Setenv(panicEnv, "1")
		dir, err := Start(t.Context(), t.TempDir(), config(t, 1), false)
		check(t, dir, err, "the machine is on fire")
	})
}

// TestStartIsCancelled checks that a cancelled Start leaves no process.
func TestStartIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir, err := Start(ctx, t.TempDir(), config(t, endless), false)
	killLater(t, dir)
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	live, err := Wait(t.Context(), dir, nil)
	if err != nil || live.Status.Phase != runs.Stopped {
		t.Errorf("%v, %v; want interrupted", live, err)
	}
	if s := state(t, dir); s.Phase != runs.Stopped {
		t.Errorf("phase %v: %v", s.Phase, s.Message)
	}
}

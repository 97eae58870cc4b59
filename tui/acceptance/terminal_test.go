//go:build linux

package acceptance_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/creack/pty"

	"hatchery/engine/runs"
)

// patience is the timeout of all waiting on a busy machine.
const patience = 60 * time.Second

// tool finds a program that a test needs. Without it the test is skipped, or fails if CI is
// set.
func tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + name) // on the PATH of few users
	}
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatalf("%s is needed where CI is set: %v", name, err)
	default:
		t.Skipf("needs %s: %v", name, err)
	}
	return path
}

// workplace is a folder with runs and a home folder of its own, and the processes that were
// started in it.
type workplace struct {
	testing.TB
	dir, runs string
	hatchery  string
	env       []string // of every process, beside which it has a terminal's
}

// newWorkplace creates a workplace. At the end of the test it ends all its processes.
func newWorkplace(t testing.TB) *workplace {
	dir, err := os.MkdirTemp("", "hatchery") // t.TempDir can be too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	w := &workplace{TB: t, dir: dir, runs: filepath.Join(dir, "runs"), hatchery: tool(t, "hatchery")}
	w.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "SHELL=/bin/sh", "LC_ALL=C.UTF-8", "TMUX_TMPDIR=" + dir, "HATCHERY_RUNS=" + w.runs}
	t.Cleanup(func() {
		// Runs are not child processes, but they can be found by their environment. A process
		// may be starting another, so repeat this.
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			all := w.processes(nil)
			for _, pid := range all {
				syscall.Kill(pid, syscall.SIGKILL)
			}
			if len(all) == 0 {
				break
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return w
}

// processes returns the processes that were started in the workplace and whose arguments
// satisfy the condition; nil selects all.
func (w *workplace) processes(ok func(args []string) bool) []int {
	var pids []int
	folders, _ := filepath.Glob("/proc/[0-9]*")
	for _, f := range folders {
		environ, err := os.ReadFile(f + "/environ")
		if err != nil || !bytes.Contains(environ, []byte("HATCHERY_RUNS="+w.runs+"\x00")) {
			continue
		}
		line, _ := os.ReadFile(f + "/cmdline")
		pid, err := strconv.Atoi(filepath.Base(f))
		if err == nil && len(line) > 0 && (ok == nil || ok(strings.Split(string(line), "\x00"))) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// until waits for a condition. If it does not become true in time, until fails.
func (w *workplace) until(what string, ok func() bool, instead func() string) {
	w.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("no %s after %v; instead:\n%s", what, patience, instead())
		}
	}
}

// run executes hatchery without a terminal.
func (w *workplace) run(args ...string) string {
	w.Helper()
	cmd := exec.Command(w.hatchery, args...)
	cmd.Dir, cmd.Env = w.dir, w.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.Fatalf("hatchery %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// small holds settings that make the quickstart fast.
var small = []string{"data.train=200", "data.eval=100", "meta.epochs=2", `run.methods=["assembling"]`, "run.threads=1"}

// start starts a small run in the background and returns its name.
func (w *workplace) start(sets ...string) string {
	w.Helper()
	args := []string{"run", "quickstart", "--detach"}
	for _, s := range append(small, sets...) {
		args = append(args, "--set", s)
	}
	id, _, _ := strings.Cut(w.run(args...), " ")
	return id
}

// live returns the liveness of a run.
func (w *workplace) live(id string) runs.Liveness {
	w.Helper()
	l, err := runs.ReadLiveness(filepath.Join(w.runs, id), time.Now())
	if err != nil {
		w.Fatal(err)
	}
	return l
}

// stream is a terminal that only records the bytes that are sent to it.
type stream struct {
	*workplace
	tty  *os.File
	over chan struct{} // closed when all was read

	mu  sync.Mutex
	got []byte
}

// stream runs a command in a pseudo-terminal of 120x40.
func (w *workplace) stream(env []string, command ...string) *stream {
	w.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir, cmd.Env = w.dir, append(append(cmd.Env, w.env...), append(env, "TERM=xterm-256color")...)
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 40, Cols: 120})
	if err != nil {
		w.Fatal(err)
	}
	s := &stream{workplace: w, tty: tty, over: make(chan struct{})}
	go func() {
		defer close(s.over)
		buffer := make([]byte, 64<<10)
		for {
			n, err := tty.Read(buffer)
			s.mu.Lock()
			s.got = append(s.got, buffer[:n]...)
			s.mu.Unlock()
			if err != nil {
				return // the other side is closed
			}
		}
	}()
	w.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
		<-s.over
		tty.Close()
	})
	return s
}

// bytes returns the bytes sent so far.
func (s *stream) bytes() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got
}

// see waits for texts after the first from bytes.
func (s *stream) see(from int, texts ...string) {
	s.Helper()
	s.until(fmt.Sprintf("%q", texts), func() bool {
		got := s.bytes()[from:]
		return !slices.ContainsFunc(texts, func(text string) bool { return !bytes.Contains(got, []byte(text)) })
	}, func() string { return strconv.Quote(string(s.bytes()[from:])) })
}

// press sends keys.
func (s *stream) press(keys string) {
	s.Helper()
	if _, err := s.tty.WriteString(keys); err != nil {
		s.Fatal(err)
	}
}

// terminal is a tmux pane on a server of its own.
type terminal struct {
	*workplace
	tmux   string
	socket string
	w, h   int
}

// open shows a command in a new terminal.
func (w *workplace) open(width, height int, command ...string) *terminal {
	w.Helper()
	t := &terminal{w, tool(w, "tmux"), "", width, height}
	f, err := os.CreateTemp(w.dir, "tmux*.conf")
	if err != nil {
		w.Fatal(err)
	}
	t.socket = strings.TrimSuffix(filepath.Base(f.Name()), ".conf")
	_, err = f.WriteString("set -g status off\nset -g escape-time 0\n")
	if err := errors.Join(err, f.Close()); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		if w.Failed() {
			if screen, err := t.try("capture-pane", "-p"); err == nil {
				w.Logf("terminal of %q:\n%s", command, screen)
			}
		}
		t.try("kill-server")
	})
	t.do(append([]string{"-f", f.Name(), "new-session", "-d", "-x", strconv.Itoa(width), "-y", strconv.Itoa(height), "-c", w.dir}, shell(command))...)
	return t
}

// again starts another command in the terminal after the last one has ended.
func (t *terminal) again(command ...string) {
	t.Helper()
	t.do("respawn-pane", "-k", "-c", t.dir, shell(command))
}

func (t *terminal) try(args ...string) (string, error) {
	cmd := exec.Command(t.tmux, append([]string{"-u", "-L", t.socket}, args...)...)
	cmd.Dir, cmd.Env = t.dir, append(t.env, "TERM=xterm-256color")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (t *terminal) do(args ...string) string {
	t.Helper()
	out, err := t.try(args...)
	if err != nil {
		t.Fatalf("tmux %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// shell returns a shell command line that executes a command, prints its exit code and keeps
// the terminal open. (tmux can do that too, but does not always notice the end.)
func shell(command []string) string {
	return quote(command) + `; printf '\r\nexit code %d' $?; exec cat`
}

// quote returns the words of a command as a shell command line.
func quote(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	return strings.Join(quoted, " ")
}

// keys presses keys, which have tmux's names.
func (t *terminal) keys(keys ...string) {
	t.Helper()
	t.do(append([]string{"send-keys"}, keys...)...)
}

// write types text.
func (t *terminal) write(text string) {
	t.Helper()
	t.do("send-keys", "-l", text)
}

// screen returns the text on the screen, without trailing blanks. A wrapped line is one line.
func (t *terminal) screen() string {
	t.Helper()
	lines := strings.Split(t.do("capture-pane", "-p", "-J"), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " ")
	}
	return strings.Join(lines, "\n")
}

// see waits for text that matches an expression and returns its last group.
func (t *terminal) see(expression string) string {
	t.Helper()
	re := regexp.MustCompile(expression)
	var found []string
	t.until(strconv.Quote(expression), func() bool {
		found = re.FindStringSubmatch(t.screen())
		return found != nil
	}, t.screen)
	return found[len(found)-1]
}

// ended waits for the end of the command and returns its exit code.
func (t *terminal) ended() string {
	t.Helper()
	return t.see(`exit code (\d+)`)
}

// resize changes the size of the terminal and waits until the program has drawn the first
// and the last line, which begin with the given texts.
func (t *terminal) resize(width, height int, first, last string) {
	t.Helper()
	t.w, t.h = width, height
	t.do("resize-window", "-x", strconv.Itoa(width), "-y", strconv.Itoa(height))
	t.until(fmt.Sprintf("screen of %dx%d", width, height), func() bool {
		lines := strings.Split(t.screen(), "\n")
		return len(lines) > height-1 && strings.HasPrefix(lines[0], first) && strings.HasPrefix(lines[height-1], last)
	}, t.screen)
	t.fits()
}

// fits checks that no line is wider than the screen. tmux would wrap it.
func (t *terminal) fits() {
	t.Helper()
	screen := strings.TrimSuffix(t.screen(), "\n")
	lines := strings.Split(screen, "\n")
	for i, l := range lines {
		if n := ansi.StringWidth(l); n > t.w {
			t.Errorf("line %d is %d cells wide on a screen of %dx%d:\n%s", i+1, n, t.w, t.h, screen)
		}
	}
	if len(lines) > t.h {
		t.Errorf("%d lines on a screen of %dx%d", len(lines), t.w, t.h)
	}
}

// events returns the number of events that a dashboard shows.
func (t *terminal) events() int {
	t.Helper()
	n, err := strconv.Atoi(t.see(`events +(\d+)`))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// moves waits until a dashboard shows more than n events and returns their number.
func (t *terminal) moves(from int) int {
	t.Helper()
	n := 0
	t.until(fmt.Sprintf("more than %d events", from), func() bool { n = t.events(); return n > from }, t.screen)
	return n
}

// set changes a setting in the editor.
func (t *terminal) set(key, value string) {
	t.Helper()
	t.keys("/", "C-u")
	t.write(key)
	t.keys("Enter", "g", "Enter", "C-u")
	t.write(value)
	t.keys("Enter")
	t.see(`› ` + regexp.QuoteMeta(key) + ` +[*!]? +` + regexp.QuoteMeta(value))
}

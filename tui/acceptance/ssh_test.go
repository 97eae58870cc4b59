//go:build linux

package acceptance_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hatchery/engine/runs"
)

// sshServer is an OpenSSH server for a workplace and the user of the test.
type sshServer struct {
	*workplace
	pid    int
	client []string // the words before the remote command
}

// serveSSH starts a server with keys and a configuration of its own.
func (w *workplace) serveSSH() *sshServer {
	w.Helper()
	sshd, ssh, keygen := tool(w, "sshd"), tool(w, "ssh"), tool(w, "ssh-keygen")
	me, err := user.Current()
	if err != nil {
		w.Fatal(err)
	}
	for _, key := range []string{"host", "user"} {
		if out, err := exec.Command(keygen, "-q", "-N", "", "-t", "ed25519", "-f", filepath.Join(w.dir, key)).CombinedOutput(); err != nil {
			w.Fatalf("ssh-keygen: %v\n%s", err, out)
		}
	}
	if os.Getuid() == 0 {
		// If started by root, the server needs this folder, which is normally created at
		// boot.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			w.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	config := fmt.Sprintf(`ListenAddress 127.0.0.1
Port %d
HostKey %[2]s/host
AuthorizedKeysFile %[2]s/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UseDNS no
PrintMotd no
PrintLastLog no
`, port, w.dir)
	path := filepath.Join(w.dir, "sshd_config")
	write := func() {
		w.Helper()
		if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
			w.Fatal(err)
		}
	}
	write()
	all, err := exec.Command(sshd, "-T", "-f", path).CombinedOutput()
	if err != nil {
		w.Fatalf("sshd: %v\n%s", err, all)
	}
	if bytes.Contains(all, []byte("persourcepenalties")) { // OpenSSH 9.8 shuts out whose connections crash
		config += "PerSourcePenalties no\n"
		write()
	}

	cmd := exec.Command(sshd, "-D", "-e", "-f", path)
	said, err := cmd.StderrPipe()
	if err != nil {
		w.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	s := &sshServer{w, cmd.Process.Pid, []string{ssh, "-F", "none", "-tt", "-p", strconv.Itoa(port), "-i", filepath.Join(w.dir, "user"),
		"-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", me.Username + "@127.0.0.1"}}
	w.Cleanup(func() {
		for _, pid := range s.connections() {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		cmd.Process.Kill()
		cmd.Wait()
	})
	for lines := bufio.NewScanner(said); ; {
		if !lines.Scan() {
			w.Fatalf("sshd does not listen: %v", lines.Err())
		}
		if strings.HasPrefix(lines.Text(), "Server listening") {
			go func() { // what else it says is not read by anyone, and must not block it
				for lines.Scan() {
				}
			}()
			return s
		}
	}
}

// connections returns the processes of the server for its connections.
func (s *sshServer) connections() []int {
	parents := map[int]int{}
	names := map[int]string{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		line, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// pid (name) state ppid; a name can have any character.
		from, to := bytes.IndexByte(line, '('), bytes.LastIndexByte(line, ')')
		pid, _ := strconv.Atoi(strings.TrimSpace(string(line[:from])))
		names[pid] = string(line[from+1 : to])
		parents[pid], _ = strconv.Atoi(strings.Fields(string(line[to+1:]))[1])
	}
	var pids []int
	for pid, name := range names {
		for p := parents[pid]; p != 0 && strings.HasPrefix(name, "sshd"); p = parents[p] {
			if p == s.pid {
				pids = append(pids, pid)
				break
			}
		}
	}
	return pids
}

// remote returns the local command that runs hatchery on the server.
func (s *sshServer) remote(args ...string) []string {
	line := fmt.Sprintf("cd %s && exec env %s %s", quote([]string{s.dir}), quote(append(slices.Clone(s.env), "TERM=xterm-256color")), quote(append([]string{s.hatchery}, args...)))
	return append(slices.Clone(s.client), line)
}

// viewers returns the running workbenches at both ends.
func (w *workplace) viewers() []int {
	return w.processes(func(args []string) bool { return len(args) > 1 && args[1] == "tui" })
}

// clients returns the client processes of the connections.
func (s *sshServer) clients() []int {
	return s.processes(func(args []string) bool { return args[0] == s.client[0] })
}

// TestSSH starts a run over a connection that is cut repeatedly.
func TestSSH(t *testing.T) {
	t.Parallel()
	w := newWorkplace(t)
	s := w.serveSSH()
	term := w.open(120, 40, s.remote("tui")...)
	term.see(`› quickstart`)
	term.keys("Enter")
	term.see(`can start: press s`)
	term.set("schedule", "100000+1")
	setSmall(term)
	term.see(`can start: press s`)
	term.keys("s")
	events := term.moves(0)
	id := term.see(`(quickstart-\d\S+)`)
	pid := w.live(id).Status.PID

	for i := range 20 {
		victims := s.clients()
		if i%2 == 1 {
			victims = s.connections()
		}
		if len(victims) == 0 {
			t.Fatal("there is no connection to cut")
		}
		for _, pid := range victims {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		term.ended()
		w.until("end of the viewer", func() bool { return len(w.viewers()) == 0 }, func() string { return fmt.Sprint(w.viewers()) })
		if l := w.live(id); l.Alive != runs.IsRunning || l.Status.PID != pid {
			t.Fatalf("after %d cuts: %v, process %d, which was %d", i+1, l, l.Status.PID, pid)
		}
		term.again(s.remote("tui", id)...)
		term.see(`state +running`)
		events = term.moves(events)
	}
	term.fits()

	// A dashboard sends little enough for a slow connection.
	viewer := w.stream(nil, s.remote("tui", id)...)
	viewer.see(0, "epoch", "quit; runs continu") // the last letter may be drawn separately
	time.Sleep(2 * time.Second)                  // the first frame is larger than later changes
	var each []int
	for range 9 {
		before := len(viewer.bytes())
		time.Sleep(time.Second)
		each = append(each, len(viewer.bytes())-before)
	}
	t.Logf("bytes in seconds of a run: %v", each)
	slices.Sort(each)
	if median := each[len(each)/2]; median == 0 || median > 5<<10 {
		t.Errorf("%d bytes a second in the median, want at most 5 KiB", median)
	}

	// If nothing changes, nothing is sent.
	w.run("pause", id)
	term.see(`state +paused`)
	const quiet = 3 * time.Second
	last, since := 0, time.Now()
	w.until("silence of a dashboard on a run that is paused", func() bool {
		if n := len(viewer.bytes()); n != last {
			last, since = n, time.Now()
		}
		return time.Since(since) > quiet
	}, func() string { return strconv.Quote(string(viewer.bytes()[max(0, last-500):])) })
}

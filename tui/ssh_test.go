package tui

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hatchery/engine/runs"
)

// TestSSH watches a run over a real OpenSSH server on the loopback interface
// whose connection is cut again and again. It needs a built program, the
// server and a minute, so it runs only when it is asked for:
//
//	HATCHERY_BIN=$PWD/hatchery go test ./tui -run SSH -v
func TestSSH(t *testing.T) {
	bin := os.Getenv("HATCHERY_BIN")
	if bin == "" {
		t.Skip("HATCHERY_BIN names no built hatchery")
	}
	s := serveSSH(t)
	root := t.TempDir()
	if out, err := command(root, bin, "run", "quickstart", "--detach", "--set", "e2e.epochs=200", "--set", "run.equal=\"epochs\"", "--set", "run.methods=[\"e2e\"]").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	folders, err := filepath.Glob(filepath.Join(root, "runs", "quickstart-*"))
	if err != nil || len(folders) != 1 {
		t.Fatalf("runs %v, %v", folders, err)
	}
	run := folders[0]
	view := fmt.Sprintf("stty rows 40 cols 120; cd %s; LANG=C.UTF-8 TERM=xterm-256color exec %s tui %s", root, bin, filepath.Base(run))
	alive := func() int {
		l, err := runs.ReadLiveness(run, time.Now())
		if err != nil || l.Alive != runs.IsRunning {
			t.Fatalf("the run is %v, %v", l, err)
		}
		return l.Status.PID
	}

	pid := alive()
	defer command(root, bin, "stop", "--kill", filepath.Base(run)).Run()
	for range 20 {
		v := s.connect(t, view)
		v.until(t, "e2e", "running")
		v.cut()
		if now := alive(); now != pid {
			t.Fatalf("process %d has become %d", pid, now)
		}
	}

	first, second := s.connect(t, view), s.connect(t, view)
	first.until(t, "e2e", "running")
	second.until(t, "e2e", "running")
	time.Sleep(2 * time.Second) // the first picture is larger than what changes in it
	var each []int
	for range 15 {
		before := first.len()
		time.Sleep(time.Second)
		each = append(each, first.len()-before)
	}
	t.Logf("bytes a second: %v", each)
	slices.Sort(each)
	if median := each[len(each)/2]; median > 5<<10 {
		t.Errorf("%d bytes a second in the median, want at most 5 KiB", median)
	}

	if out, err := command(root, bin, "stop", filepath.Base(run)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	first.until(t, "interrupted")
	second.until(t, "interrupted")
	time.Sleep(2 * time.Second)
	before := first.len()
	time.Sleep(4 * time.Second)
	if n := first.len() - before; n != 0 {
		t.Errorf("%d bytes while nothing happens", n)
	}
}

func command(dir, name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	c.Dir = dir
	return c
}

// sshServer is an OpenSSH server for the user of the test.
type sshServer struct{ dir, port, user string }

func serveSSH(t *testing.T) *sshServer {
	t.Helper()
	sshd, err := exec.LookPath("sshd")
	if err != nil {
		if sshd, err = exec.LookPath("/usr/sbin/sshd"); err != nil {
			t.Fatal(err)
		}
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	s := &sshServer{dir: t.TempDir(), port: port, user: me.Username}
	for _, key := range []string{"host", "user"} {
		if out, err := command(s.dir, "ssh-keygen", "-q", "-N", "", "-t", "ed25519", "-f", key).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	config := fmt.Sprintf("Port %s\nListenAddress 127.0.0.1\nHostKey %[2]s/host\nAuthorizedKeysFile %[2]s/user.pub\nPidFile none\nStrictModes no\nPermitRootLogin yes\n", port, s.dir)
	if err := os.WriteFile(filepath.Join(s.dir, "config"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // it insists on that folder
			t.Fatal(err)
		}
	}
	c := command(s.dir, sshd, "-D", "-e", "-f", filepath.Join(s.dir, "config"))
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if conn, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			conn.Close()
			return s
		}
		if time.Now().After(deadline) {
			t.Fatal("the server does not answer")
		}
	}
}

// viewer is what a connection shows.
type viewer struct {
	cmd *exec.Cmd
	mu  sync.Mutex
	got bytes.Buffer
}

func (s *sshServer) connect(t *testing.T, remote string) *viewer {
	t.Helper()
	v := &viewer{cmd: command(s.dir, "ssh", "-tt", "-p", s.port, "-i", filepath.Join(s.dir, "user"), "-o", "StrictHostKeyChecking=no",
		"-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", s.user+"@127.0.0.1", remote)}
	v.cmd.Stdout, v.cmd.Stderr = v, v
	in, err := v.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); v.cut() })
	return v
}

func (v *viewer) Write(b []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.got.Write(b)
}

func (v *viewer) len() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.got.Len()
}

// cut ends the connection without a word to the other side.
func (v *viewer) cut() {
	v.cmd.Process.Kill()
	v.cmd.Wait()
}

func (v *viewer) until(t *testing.T, texts ...string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		v.mu.Lock()
		got := v.got.String()
		v.mu.Unlock()
		ok := true
		for _, x := range texts {
			ok = ok && strings.Contains(got, x)
		}
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the connection never shows %v: %q", texts, got)
		}
	}
}

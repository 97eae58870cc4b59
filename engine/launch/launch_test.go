package launch

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"hatchery/engine/runs"
)

// TestNothingIsLeft checks that clients that send nothing, or that wait, do not keep Execute
// from returning, and that no goroutine is left.
func TestNothingIsLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	c := config(t, endless)
	run, err := runs.Create(t.TempDir(), "run", c.TOML())
	if err != nil {
		t.Fatal(err)
	}
	// An existing file at the path of the socket belongs to a dead process.
	if err := os.WriteFile(socketPath(run.Dir()), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	begun, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- Execute(t.Context(), c, run, Options{Started: func() { close(begun) }}) }()
	<-begun
	if info, err := os.Stat(socketPath(run.Dir())); err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("the socket is %v, %v", info, err)
	}
	silent := dialRun(t, run.Dir())
	if _, err := silent.Write([]byte(`{"do":`)); err != nil {
		t.Fatal(err)
	}
	patient := make(chan error, 1)
	go func() {
		_, err := StopAfterEpoch(t.Context(), run.Dir(), nil)
		patient <- err
	}()
	if err := <-patient; err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("Execute returned %v", err)
	}
	if answer, err := io.ReadAll(silent); err != nil || !strings.Contains(string(answer), "cannot read the request") {
		t.Errorf("the silent partner got %q, %v", answer, err)
	}
	silent.Close()
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<16)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// TestBadRequests checks that a run survives invalid requests.
func TestBadRequests(t *testing.T) {
	c := config(t, endless)
	run, err := runs.Create(t.TempDir(), "run", c.TOML())
	if err != nil {
		t.Fatal(err)
	}
	begun, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- Execute(t.Context(), c, run, Options{Started: func() { close(begun) }}) }()
	<-begun
	for request, want := range map[string]string{
		"\n":                            "cannot read the request",
		"{\"do\":\"dance\"}\n":          `does not know the request "dance"`,
		"[1,2]\n":                       "cannot read the request",
		strings.Repeat("a", 5000):       "cannot read the request",
		"{\"do\":\"status\"}\nand more": "",
	} {
		conn := dialRun(t, run.Dir())
		// The request may be refused before all of it has been sent.
		io.WriteString(conn, request)
		line, err := bufio.NewReader(conn).ReadBytes('\n')
		var r Reply
		if err == nil {
			err = json.Unmarshal(line, &r)
		}
		if err != nil || !r.Final || !strings.Contains(r.Error, want) || (want == "") != (r.Error == "") {
			t.Errorf("%.30q is answered with %q, %v; want %q", request, line, err, want)
		}
	}
	if _, err := Stop(t.Context(), run.Dir()); err != nil {
		t.Error(err)
	}
	<-ended
}

// TestNoSocket checks that a run without a socket is executed.
func TestNoSocket(t *testing.T) {
	c := config(t, 1)
	run, err := runs.Create(t.TempDir(), "run", c.TOML())
	if err != nil {
		t.Fatal(err)
	}
	// A folder that is not empty cannot be replaced.
	if err := os.MkdirAll(socketPath(run.Dir())+"/occupied", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Execute(t.Context(), c, run, Options{}); err != nil {
		t.Fatal(err)
	}
	s := state(t, run.Dir())
	if len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0].Message, "SIGTERM") {
		t.Errorf("warnings %v", s.Warnings)
	}
}

func TestLogoutKills(t *testing.T) {
	const session, service = "0::/user.slice/user-1000.slice/session-3.scope\n", "0::/user.slice/user-1000.slice/user@1000.service/run-1.scope\n"
	for name, c := range map[string]struct {
		cgroup string
		files  map[string]string
		user   string
		want   bool
	}{
		"no configuration":    {session, nil, "ada", false},
		"as shipped":          {session, map[string]string{"etc/systemd/logind.conf": "[Login]\n#KillUserProcesses=yes\n"}, "ada", false},
		"yes":                 {session, map[string]string{"etc/systemd/logind.conf": "[Login]\nKillUserProcesses=yes\n"}, "ada", true},
		"in a user's service": {service, map[string]string{"etc/systemd/logind.conf": "[Login]\nKillUserProcesses=yes\n"}, "ada", false},
		"an addition":         {session, map[string]string{"usr/lib/systemd/logind.conf.d/9.conf": "[Login]\nKillUserProcesses = true\n"}, "ada", true},
		"a later addition": {session, map[string]string{
			"usr/lib/systemd/logind.conf":            "[Login]\nKillUserProcesses=yes\n",
			"etc/systemd/logind.conf.d/10-keep.conf": "[Login]\nKillUserProcesses=no\n",
		}, "ada", false},
		"an addition of a name": {session, map[string]string{
			"etc/systemd/logind.conf.d/10.conf":     "[Login]\nKillUserProcesses=no\n",
			"usr/lib/systemd/logind.conf.d/10.conf": "[Login]\nKillUserProcesses=yes\n",
		}, "ada", false},
		"root":     {session, map[string]string{"etc/systemd/logind.conf": "KillUserProcesses=yes\n"}, "root", false},
		"excluded": {session, map[string]string{"etc/systemd/logind.conf": "KillUserProcesses=yes\nKillExcludeUsers=bob ada\n"}, "ada", false},
		"only bob": {session, map[string]string{"etc/systemd/logind.conf": "KillUserProcesses=yes\nKillOnlyUsers=bob\n"}, "ada", false},
	} {
		root := fstest.MapFS{"proc/self/cgroup": {Data: []byte(c.cgroup)}}
		for path, text := range c.files {
			root[path] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := logoutKills(root, c.user); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

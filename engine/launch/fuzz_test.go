//go:build unix

package launch

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"hatchery/engine/pipeline"
	"hatchery/engine/runs"
)

// pair returns two ends of a connection.
func pair(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "pair")
		conn, err := net.FileConn(file)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		ends[i] = conn.(*net.UnixConn)
	}
	return ends[0], ends[1]
}

// For any input on the control socket, the reply is one or more lines of JSON, the last of them
// final. Invalid requests get an error and change nothing.
func FuzzRequest(f *testing.F) {
	for _, do := range []action{doStatus, doPause, doContinue, doStop, doStopAfterEpoch, "restart"} {
		line, err := json.Marshal(request{do})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append(line, '\n'))
	}
	f.Add([]byte(`{"do":"stop"}`)) // without a newline
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add(bytes.Repeat([]byte("x"), 5000))
	f.Add([]byte("null\n{\"do\":\"stop\"}\n"))
	run, err := runs.Create(f.TempDir(), "run", nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { run.Close() })
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &server{run: run, control: pipeline.NewControl()}
		s.ctx, s.endCtx = context.WithCancel(context.Background())
		stopped := false
		s.stop = func() { // like a run that stops
			stopped = true
			s.outcome.Message = "stopped"
			s.endCtx()
		}
		defer s.endCtx()
		here, there := pair(t)
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer there.Close()
			s.converse(there)
		}()
		go func() {
			here.Write(data) // until the other end stops reading
			here.CloseWrite()
		}()
		here.SetReadDeadline(time.Now().Add(talkTimeout / 2))
		answer, err := io.ReadAll(here)
		if err != nil && len(answer) == 0 {
			t.Fatalf("no answer to %q: %v", data, err)
		}
		<-done
		var last Reply
		for line := range bytes.Lines(answer) {
			if last.Final {
				t.Errorf("%s after the final reply", line)
			}
			if err := json.Unmarshal(line, &last); err != nil || last.PID != os.Getpid() {
				t.Errorf("reply %q: %v", line, err)
			}
		}
		if !last.Final {
			t.Errorf("no final reply to %q but %q", data, answer)
		}
		var r request
		line, _, whole := bytes.Cut(data, []byte("\n"))
		known := whole && len(line) < 4096 && json.Unmarshal(line, &r) == nil
		if !known && (last.Error == "" || stopped) {
			t.Errorf("%q was obeyed with %+v", data, last)
		}
		if stopped != (known && r.Do == doStop) {
			t.Errorf("%q has stopped the run: %v", data, stopped)
		}
	})
}

// Whatever answers at the socket of a run, a request returns a final reply or an error that
// names the run.
func FuzzReply(f *testing.F) {
	f.Add([]byte(`{"message":"pauses","final":false,"pid":7}` + "\n" + `{"message":"paused","final":true,"pid":7,"paused":true}` + "\n"))
	f.Add([]byte(`{"error":"no","final":true}` + "\n"))
	f.Add([]byte(`{"final":true}`))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	run, err := runs.Create(f.TempDir(), "run", nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { run.Close() })
	l, err := listen(run.Dir())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { l.Close() })
	f.Fuzz(func(t *testing.T, data []byte) {
		served := make(chan struct{})
		go func() {
			defer close(served)
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(talkTimeout / 2))
			conn.Read(make([]byte, 100))
			conn.Write(data)
		}()
		told := 0
		r, err := send(t.Context(), run.Dir(), doStop, func(r Reply) {
			told++
			if r.Final {
				t.Errorf("a final reply as what is waited for: %+v", r)
			}
		})
		<-served
		if told > bytes.Count(data, []byte("\n")) {
			t.Errorf("%d replies of %q", told, data)
		}
		switch {
		case err == nil && (!r.Final || r.Error != ""):
			t.Errorf("%q is taken for success: %+v", data, r)
		case err != nil && r.Error == "" && !strings.Contains(err.Error(), run.Dir()):
			t.Errorf("the error does not name the run: %v", err)
		}
	})
}

// For any queue file, the queue holds only waiting runs, each once, or the error names the file.
func FuzzQueue(f *testing.F) {
	f.Add([]byte(`["run","gone"]`))
	f.Add([]byte(`["run","run","run/","./run","../runs/run"]`))
	f.Add([]byte(`[null,1]`))
	f.Add([]byte("\x00\x00"))
	f.Add([]byte{})
	root := filepath.Join(f.TempDir(), "runs")
	run, err := runs.Create(root, "run", nil)
	if err == nil {
		err = run.SetPhase(runs.Queued)
	}
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { run.Close() })
	f.Fuzz(func(t *testing.T, data []byte) {
		path := queuePath(root, "queue")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		var written []string
		readable := len(data) == 0 || json.Unmarshal(data, &written) == nil
		ids, err := Queued(root)
		if (err == nil) != readable || err != nil && !strings.Contains(err.Error(), path) {
			t.Fatalf("%q: %v", data, err)
		}
		if err != nil {
			return
		}
		var want []string
		if slices.Contains(written, "run") {
			want = []string{"run"}
		}
		if !slices.Equal(ids, want) {
			t.Errorf("of %q the queue is %q", written, ids)
		}
		if again, err := Queued(root); err != nil || !slices.Equal(again, ids) {
			t.Errorf("%q became %q, %v", ids, again, err)
		}
	})
}

// The last setting in logind's configuration counts, whatever precedes it.
func FuzzLogind(f *testing.F) {
	f.Add("[Login]\nKillUserProcesses=yes\n", "[Login]\n#KillUserProcesses=yes\nKillExcludeUsers=root me\n")
	f.Add("KillUserProcesses = on\nKillOnlyUsers=me", "KillUserProcesses\n=yes\n")
	f.Fuzz(func(t *testing.T, main, more string) {
		for last, want := range map[string]bool{
			"KillUserProcesses=no":                                   false,
			"KillUserProcesses=yes\nKillExcludeUsers=a me":           false,
			"KillUserProcesses=yes\nKillOnlyUsers=a\n":               false,
			"KillUserProcesses=1\nKillExcludeUsers=\nKillOnlyUsers=": true,
		} {
			root := fstest.MapFS{
				"proc/self/cgroup":                     {Data: []byte("0::/user.slice/session-1.scope\n")},
				"etc/systemd/logind.conf":              {Data: []byte(main)},
				"usr/lib/systemd/logind.conf.d/1.conf": {Data: []byte(more)},
				"etc/systemd/logind.conf.d/2.conf":     {Data: []byte(last)},
			}
			if got := logoutKills(root, "me"); got != want {
				t.Errorf("%q after %q and %q: %v", last, main, more, got)
			}
			root["proc/self/cgroup"].Data = []byte("0::/user.slice/" + strings.ReplaceAll(main, "session-", ""))
			if logoutKills(root, "me") {
				t.Errorf("outside of a session %q kills", last)
			}
		}
	})
}

package runs

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// putFile writes a file and creates its folder.
func putFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, data, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// Every complete line of an arbitrary journal becomes an event or a warning that names it.
// Opening the journal for writing removes only the text after the last newline.
func FuzzJournal(f *testing.F) {
	good := `{"time":"2026-01-31T14:23:01Z","kind":"run-start","plan":[{"stage":"meta","epochs":2,"steps":4,"cost":1}],"environment":{"cpu":"x"}}
{"time":"2026-01-31T14:23:02Z","kind":"stage-start","stage":"meta","epochs":2,"steps":4}
{"time":"2026-01-31T14:23:03Z","kind":"step","stage":"meta","epoch":1,"step":1,"values":{"loss":"NaN","lr":0.1}}
{"time":"2026-01-31T14:23:03Z","kind":"step","stage":"meta","epoch":1,"step":2,"values":{"loss":2.5,"gpu":0}}
{"time":"2026-01-31T14:23:04Z","kind":"eval","stage":"meta","epoch":1,"step":2,"values":{"top1":50}}
{"time":"2026-01-31T14:23:05Z","kind":"stage-end","stage":"meta","epoch":2,"step":4,"values":{"top1":51}}
{"time":"2026-01-31T14:23:06Z","kind":"done"}
`
	f.Add([]byte(good))
	f.Add([]byte(good[:len(good)-20]))
	f.Add([]byte(strings.Replace(good, "step", "step\n", 1) + "\x00\x00\n{}\n[]\nnull\n{\"kind\":\"attempt\",\"stage\":\"e2e\",\"attempt\":2,\"job\":\"7\"}"))
	f.Add([]byte(`{"kind":"resume","stage":"meta","epoch":-1,"step":9223372036854775807}` + "\n" + `{"kind":"submit","plan":[{"stage":"a","cost":1e308},{"stage":"b","cost":1e308}]}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			t.Skip("longer than tells more")
		}
		dir := t.TempDir()
		path := filepath.Join(dir, eventsFile)
		putFile(t, path, data)

		whole := data[:bytes.LastIndexByte(data, '\n')+1]
		lines := bytes.SplitAfter(whole, []byte("\n"))
		lines = lines[:len(lines)-1] // the empty one after the last newline
		events, err := ReadEvents(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(events) != len(lines) {
			t.Fatalf("%d events of %d lines", len(events), len(lines))
		}
		damagedStep := false
		for i, line := range lines {
			var want Event
			err := json.Unmarshal(line, &want)
			damagedStep = damagedStep || err != nil && bytes.Contains(line, []byte(`"kind":"step"`))
			if err == nil {
				if !bytes.Equal(asJSON(t, events[i]), asJSON(t, want)) {
					t.Errorf("line %d is %+v, want %+v", i+1, events[i], want)
				}
			} else if e := events[i]; e.Kind != Warning || !strings.Contains(e.Message, path) || !strings.Contains(e.Message, "line "+strconv.Itoa(i+1)+",") {
				t.Errorf("line %d, which is not an event, became %+v", i+1, e)
			}
		}
		checkState(t, dir, events, damagedStep)

		j, err := openJournal(path)
		if err != nil {
			t.Fatal(err)
		}
		last := Event{Time: time.Unix(1, 0).UTC(), Kind: Info, Message: "after it"}
		if err := errors.Join(j.append(last), j.close()); err != nil {
			t.Fatal(err)
		}
		if repaired, err := os.ReadFile(path); err != nil || !bytes.HasPrefix(repaired, whole) || string(repaired[len(whole):]) != string(asJSON(t, last))+"\n" {
			t.Errorf("%q was repaired to %q, %v", data, repaired, err)
		}
		if again, err := ReadEvents(dir); err != nil || len(again) != len(events)+1 {
			t.Errorf("%d events after one more than %d, %v", len(again), len(events), err)
		}
	})
}

// checkState folds the events of the run in dir, one by one and as readers do, which skip step
// events.
//
// Readers may take a damaged line that begins like a step event for one; damagedStep tells that
// there is such a line.
func checkState(t *testing.T, dir string, events []Event, damagedStep bool) {
	t.Helper()
	s, err := ReadState(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	plain := Fold(events)
	for _, s := range []*State{s, plain} {
		asJSON(t, s) // status --json
		s.Devices()
		if p := s.Progress(); !(p >= 0 && p <= 1) {
			t.Errorf("progress %v", p)
		}
		for i := range s.Stages {
			if p := s.Stages[i].Progress(); !(p >= 0 && p <= 1) {
				t.Errorf("progress %v of %s", p, s.Stages[i].Name)
			}
		}
		if eta, ok := s.ETA(s.Updated); ok && eta < 0 {
			t.Errorf("ready in %v", eta)
		}
	}
	if damagedStep {
		return
	}
	if s.Phase != plain.Phase || len(s.Stages) != len(plain.Stages) || string(asJSON(t, s.Results)) != string(asJSON(t, plain.Results)) || len(s.Warnings) != len(plain.Warnings) || len(s.Errors) != len(plain.Errors) {
		t.Errorf("without steps in a row the state is\n%s\nwith them\n%s", asJSON(t, s), asJSON(t, plain))
	}
	for i := range s.Stages {
		a, b := s.Stages[i], plain.Stages[i]
		if a.Name != b.Name || a.Phase != b.Phase || a.Epochs != b.Epochs || a.Steps != b.Steps || a.Attempt != b.Attempt || a.Checkpoint != b.Checkpoint || string(asJSON(t, a.Points)) != string(asJSON(t, b.Points)) {
			t.Errorf("without steps in a row stage %d is\n%s\nwith them\n%s", i, asJSON(t, a), asJSON(t, b))
		}
	}
}

// asJSON returns a value as status --json and the files of a run show it.
func asJSON(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("%+v: %v", v, err)
	}
	return data
}

// A status is read back as it was written, or the error names the file.
func FuzzStatus(f *testing.F) {
	f.Add([]byte(`{"phase":"running","stage":"meta","pid":7,"process":{"boot":"b","namespace":"pid:[1]","start":9},"host":"h","started":"2026-01-31T14:23:01Z","heartbeat":"2026-01-31T14:23:06.5Z"}`))
	f.Add([]byte(`{"phase":"","pid":-1,"heartbeat":"9999-12-31T23:59:59Z"}`))
	f.Add([]byte(`null`))
	f.Add([]byte("\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		path := filepath.Join(dir, statusFile)
		putFile(t, path, data)
		s, err := ReadStatus(dir)
		if err != nil {
			if !strings.Contains(err.Error(), path) {
				t.Errorf("the error does not name %s: %v", path, err)
			}
			return
		}
		if err := writeStatus(osDisk{}, path, path+".x", s); err != nil {
			t.Fatal(err)
		}
		if again, err := ReadStatus(dir); err != nil || string(asJSON(t, again)) != string(asJSON(t, s)) {
			t.Errorf("%+v became %+v, %v", s, again, err)
		}
		for _, now := range []time.Time{{}, s.Heartbeat, time.Now()} {
			l, err := ReadLiveness(dir, now)
			if err != nil {
				t.Fatal(err)
			}
			if l.Silent < 0 {
				t.Errorf("silent for %v", l.Silent)
			}
			if ends := l.Alive == IsFinished; ends == s.Phase.alive() {
				t.Errorf("%s is %s", s.Phase, l.Alive)
			}
			_ = l.String()
		}
		s.Local()
	})
}

// An outcome is read back as it was written, or the error names the file. Only a file of the
// stage is taken for its weights.
func FuzzOutcome(f *testing.F) {
	f.Add([]byte(`{"stage":"meta","time":"2026-01-31T14:23:01Z","epoch":2,"step":4,"checkpoint":"checkpoint-2.safetensors","sha256":"00","values":{"top1":50,"loss":"NaN"}}`))
	f.Add([]byte(`{"checkpoint":"../../../secret","origin":"x"}`))
	f.Add([]byte(`{"checkpoint":".."}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`{"values":{"a":1e999}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		path := filepath.Join(dir, stagesDir, "meta", doneName)
		putFile(t, path, data)
		putFile(t, filepath.Join(dir, "secret"), []byte("not a checkpoint"))
		o, err := ReadOutcome(dir, "meta")
		if err != nil || o == nil {
			if err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("the error does not name %s: %v", path, err)
			}
			return
		}
		putFile(t, path, asJSON(t, o))
		if again, err := ReadOutcome(dir, "meta"); err != nil || string(asJSON(t, again)) != string(asJSON(t, o)) {
			t.Errorf("%+v became %+v, %v", o, again, err)
		}
		if _, err := LoadFinal(dir, "meta"); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, stagesDir)) {
			t.Errorf("the weights of %q: %v", o.Checkpoint, err)
		}
		if _, err := FinalHeader(dir, "meta"); err == nil {
			t.Errorf("there is a header of %q", o.Checkpoint)
		}
	})
}

// An attempt that is listed has the name of an existing journal.
func FuzzAttempts(f *testing.F) {
	for _, name := range []string{"meta.1.jsonl", "module-1.12.jsonl", "a.b.3.jsonl", "meta.01.jsonl", ".1.jsonl", "meta.-1.jsonl", "meta.9223372036854775808.jsonl", "jsonl", "meta.1.json"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if name == "" || strings.ContainsRune(name, filepath.Separator) || name == "." || name == ".." || strings.ContainsRune(name, 0) || len(name) > 255 {
			t.Skip("no name of a file")
		}
		dir := t.TempDir()
		path := filepath.Join(dir, attemptsDir, name)
		putFile(t, path, nil)
		all, err := listAttempts(dir)
		if err != nil || len(all) > 1 {
			t.Fatalf("%v, %v", all, err)
		}
		for _, a := range all {
			if a.number < 1 || attemptPath(dir, a.stage, a.number, ".jsonl") != path {
				t.Errorf("%q is taken for attempt %d of %q", name, a.number, a.stage)
			}
		}
		putFile(t, filepath.Join(dir, eventsFile), nil)
		if events, err := ReadEvents(dir); err != nil || len(events) > 0 {
			t.Errorf("%v, %v", events, err)
		}
	})
}

var safeName = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,99}$`)

// The id of a run is a safe file name, whatever the name of the experiment is.
func FuzzNewID(f *testing.F) {
	for _, name := range []string{"quickstart", "", "-.-", "Ä/../B", "a\nb", strings.Repeat("x", 200), strings.Repeat("é", 80)} {
		f.Add(name, int64(0))
	}
	f.Add("..a..", int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, name string, seconds int64) {
		// A clock may be wrong, but not by thousands of years.
		now := time.Unix(seconds%(1<<37), 0)
		id := NewID(name, now)
		if err := checkName("run id", id); err != nil || !safeName.MatchString(id) {
			t.Errorf("%q becomes %q: %v", name, id, err)
		}
		if err := checkName("run id", name); (err == nil) != safeName.MatchString(name) {
			t.Errorf("%q: %v", name, err)
		}
		if err := checkName("run id", name); err != nil && strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("the error steers the terminal: %q", err)
		}
	})
}

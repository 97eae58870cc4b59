package acceptance_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"hatchery/engine/printable"
)

// hostile is a text with every kind of character that controls a terminal.
const hostile = "\x1b[2J\x1b]0;owned\a\u009b31m\u0085\u202egpj\u2066\u200b\u2028\r\x7f\b\nline"

// unprintable returns the first part of a text that would control a terminal, or "".
func unprintable(text []byte) string {
	for at := 0; at < len(text); {
		c, size := utf8.DecodeRune(text[at:])
		if c == utf8.RuneError && size == 1 || c != '\n' && c != '\t' && printable.Unsafe(c) {
			line := text[:at]
			line = line[bytes.LastIndexByte(line, '\n')+1:]
			return fmt.Sprintf("%q after %q", text[at:at+size], line)
		}
		at += size
	}
	return ""
}

// words is a test with a folder of runs whose names are all hostile.
type words struct {
	*testing.T
	dir, hatchery string
}

// run executes a command and returns its exit code and output.
func (w *words) run(args ...string) (code int, out string) {
	w.Helper()
	cmd := exec.Command(w.hatchery, args...)
	cmd.Dir = w.dir
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "HATCHERY_") }), "HOME="+w.dir, "XDG_DATA_HOME=")
	cmd.Stdin = strings.NewReader("presets\n\nruns\n1\n\nruns\n2\n\nnothing" + hostile + "\nquit\n")
	text, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		w.Fatal(err)
	}
	if bad := unprintable(text); bad != "" {
		w.Errorf("hatchery %q writes %s", args, bad)
	}
	return cmd.ProcessState.ExitCode(), string(text)
}

// smallRun holds settings for an experiment of two seconds.
var smallRun = []string{"-s", "run.methods=assembling", "-s", "data.train=100", "-s", "data.eval=100", "-s", "schedule=1+1", "-s", "meta.epochs=1", "-s", "modules.k=2",
	"-s", "meta.warmup_epochs=0", "-s", "modular.warmup_epochs=0", "-s", "finetune.warmup_epochs=0"}

// TestHostileWords executes every command on runs, studies, presets and data sets whose names
// and texts would control a terminal.
func TestHostileWords(t *testing.T) {
	t.Parallel()
	hatchery, err := exec.LookPath("hatchery")
	if err != nil {
		t.Fatal(err)
	}
	w := &words{t, t.TempDir(), hatchery}
	root := filepath.Join(w.dir, "exp [v1] *"+hostile)
	in := func(args ...string) []string { return append([]string{"--runs-dir", root}, args...) }

	preset := filepath.Join(w.dir, "mine"+hostile+".toml")
	text := "extends = \"quickstart\"\ntitle = " + quoted(hostile) + "\nnotes = " + quoted(hostile) + "\n[[paper]]\nsource = " + quoted(hostile) + "\nmetric = \"top1\"\nmethod = \"assembling\"\nvalue = 1\n"
	w.write(preset, text)
	w.write(filepath.Join(w.dir, "wrong"+hostile+".toml"), "extends = \"quickstart\"\n"+quoted("a"+hostile)+" = 1\n")
	w.write(filepath.Join(w.dir, "syntax.toml"), "title = \"a\" "+hostile+"\n")
	study := filepath.Join(w.dir, "study"+hostile+".toml")
	w.write(study, fmt.Sprintf("title = %[1]s\nsays = [%[1]s]\nsource = %[1]s\nx = %[1]s\npreset = %[2]s\nset = [%[3]s]\n[[series]]\nname = %[4]s\nmethod = \"e2e\"\n[[series.point]]\nlabel = %[4]s\nat = 1.0\nset = []\n",
		quoted(hostile), quoted(preset), `"data.train=100", "data.eval=100", "run.equal=epochs", "e2e.epochs=1", "e2e.warmup_epochs=0"`, quoted("=a"+hostile)))

	if code, out := w.run(in(append([]string{"run", preset}, smallRun...)...)...); code != 0 {
		t.Fatalf("run: %d, %s", code, out)
	}
	made := w.onlyRun(root)
	if base := filepath.Base(made); strings.Trim(base, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		t.Errorf("the run is called %q", base)
	}
	config, _ := os.ReadFile(filepath.Join(made, "config.toml"))
	log, _ := os.ReadFile(filepath.Join(made, "log.txt"))
	for name, text := range map[string][]byte{"config.toml": config, "log.txt": log} {
		if bad := unprintable(text); bad != "" {
			t.Errorf("%s holds %s", name, bad)
		}
	}

	// One run that is done and one that failed, both written by another program.
	done, failed := filepath.Join(root, "done"+hostile), filepath.Join(root, "failed"+hostile)
	if err := os.CopyFS(failed, os.DirFS(made)); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(made, done); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{done, failed} {
		for _, kind := range []string{"info", "warning", "error", "interrupted", "requeued", "queue", "pause", "continue", "submit", "attempt"} {
			w.event(dir, map[string]any{"kind": kind, "stage": "stage" + hostile, "message": "message" + hostile, "host": hostile, "job": hostile, "file": hostile,
				"plan": []map[string]any{{"stage": "stage" + hostile, "epochs": 2, "steps": 4, "cost": 1e308}}, "environment": map[string]string{"device": hostile, "host": hostile}})
		}
		w.event(dir, map[string]any{"kind": "epoch", "stage": "other" + hostile, "epoch": 1, "values": map[string]any{"loss": "NaN", "top1": 1, "=" + hostile: 2}})
		w.event(dir, map[string]any{"kind": "result", "method": "=method" + hostile, "values": map[string]any{"top1": "NaN"}})
		w.append(filepath.Join(dir, "log.txt"), "\x1b[2J\xff"+hostile+"\n\xe2\x82")
	}
	w.event(done, map[string]any{"kind": "done"})
	w.event(failed, map[string]any{"kind": "error", "message": hostile})
	w.status(failed, map[string]any{"phase": "failed", "message": hostile, "stage": hostile, "host": hostile})
	// Runs that cannot be read.
	for name, files := range map[string]map[string]string{
		"no config" + hostile:  {"events.jsonl": "", "status.json": "{}"},
		"bad config" + hostile: {"config.toml": "a = 1\nb = 2\n" + quoted(hostile) + " = 3\n", "events.jsonl": "", "status.json": "{}"},
		"no status" + hostile:  {"config.toml": string(config), "events.jsonl": ""},
		"bad status" + hostile: {"config.toml": string(config), "events.jsonl": "", "status.json": hostile},
		"no events" + hostile:  {"config.toml": string(config), "status.json": "{}"},
	} {
		for file, text := range files {
			w.write(filepath.Join(root, name, file), text)
		}
	}
	if code, out := w.run(in("study", study)...); code != 0 {
		t.Fatalf("study: %d, %s", code, out)
	}
	studies, err := os.ReadDir(filepath.Join(root, "studies"))
	if err != nil || len(studies) != 1 {
		t.Fatal(err, studies)
	}
	begun := studies[0].Name()

	// Tables have one line for each run, with a short error.
	_, out := w.run(in("runs")...)
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 1+8 {
		t.Errorf("runs has %d lines, want a head and 8:\n%s", len(lines), out)
	}
	for line := range strings.SplitSeq(out, "\n") {
		if len(line) > 600 || strings.Contains(line, "quickstart, ") {
			t.Errorf("too long: %s", line)
		}
	}

	set := "data.root=" + filepath.Join(w.dir, "nothing"+hostile)
	// Arguments for each command; the results do not matter.
	asked := map[string][][]string{
		"tui":            {{"tui", "--plain"}, {"tui", "--plain", done}, {"tui", "--plain", failed}, {"tui", "no" + hostile}, {"tui", "--theme", hostile}},
		"run":            {{"run", "no" + hostile}, {"run", preset, "-s", set, "-s", "data.name=folder"}, {"run", "wrong" + hostile + ".toml"}, {"run", "syntax.toml"}, {"run", "quickstart", "-s", hostile}, {"run", "quickstart", "-s", "a=\xff"}},
		"resume":         {{"resume", "no" + hostile}, {"resume", done}, {"resume", done, "--json"}},
		"submit":         {{"submit", preset, "--dry-run"}, {"submit", preset}, {"submit", preset, "--partition", hostile}},
		"stage":          {{"stage", done, "meta"}, {"stage", done, "no" + hostile}},
		"attach":         {{"attach", done}, {"attach", failed}, {"attach", failed, "--json"}, {"attach", "no" + hostile}},
		"stop":           {{"stop", done}, {"stop", failed, "--kill"}},
		"pause":          {{"pause", done}},
		"wait":           {{"wait", done}, {"wait", failed}},
		"logs":           {{"logs", done}, {"logs", "-f", failed}},
		"queue list":     {{"queue"}},
		"queue up":       {{"queue", "up", done}},
		"queue down":     {{"queue", "down", failed}},
		"queue remove":   {{"queue", "remove", failed}},
		"execute":        {{"execute", done}},
		"status":         {{"status", done}, {"status", failed}, {"status", failed, "--json"}, {"status", "bad config"}, {"status", "d"}},
		"runs":           {{"runs"}},
		"presets list":   {{"presets"}},
		"presets show":   {{"presets", "show", preset}, {"presets", "show", "no" + hostile}},
		"plan":           {{"plan", preset}, {"plan", preset, "-s", "title=" + hostile}},
		"study run":      {{"study", "no" + hostile}},
		"study list":     {{"study", "list"}},
		"study resume":   {{"study", "resume", begun}, {"study", "resume", "no" + hostile}},
		"study stop":     {{"study", "stop", begun}},
		"study status":   {{"study", "status", begun}, {"study", "status", begun, "--json"}},
		"study show":     {{"study", "show", "no" + hostile}},
		"report":         {{"report", done, "--csv", "csv-done", "-o", "done.html"}, {"report", failed, "--csv", "csv-failed" + hostile}, {"report", begun, "--csv", "csv-study", "-o", "study.html"}},
		"data list":      {{"data"}},
		"data fetch":     {{"data", "fetch", "no" + hostile}},
		"data verify":    {{"data", "verify", "folder", "--root", "no" + hostile}, {"data", "verify", hostile}},
		"data pack":      {{"data", "pack", "fashion-mnist-5k", "pack" + hostile, "--side", "0"}, {"data", "pack", "folder", "p", "--side", "-1"}},
		"data partition": {{"data", "partition", "fashion-mnist-5k", "parts" + hostile, "--parts", "2"}},
		"doctor":         {{"doctor"}},
		"help":           {{"help"}, {"help", "runs", hostile}, {"help", "no" + hostile}},
		"eval":           {{"eval", done}, {"eval", done, "--stage", hostile}},
	}
	// --help does not list these commands.
	commands := []string{"queue list", "execute", "presets list", "data list"}
	_, help := w.run("--help")
	for _, found := range regexp.MustCompile(`(?m)^  ([a-z]+(?: [a-z]+)?)\b`).FindAllStringSubmatch(help, -1) {
		commands = append(commands, found[1])
	}
	for _, name := range commands {
		if asked[name] == nil {
			t.Errorf("the command %q is not tested here", name)
		}
		for _, args := range asked[name] {
			w.run(in(args...)...)
		}
		delete(asked, name)
	}
	for name := range asked {
		t.Errorf("no command %q", name)
	}
	w.run("--runs-dir", "nothing"+hostile, "runs")
	w.run(hostile)
	w.run("--" + hostile)

	// CSV files and reports are safe too.
	var tables int
	for _, folder := range []string{"csv-done", "csv-failed" + hostile, "csv-study"} {
		err := fs.WalkDir(os.DirFS(filepath.Join(w.dir, folder)), ".", func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			tables++
			text, err := os.ReadFile(filepath.Join(w.dir, folder, path))
			if bad := unprintable(text); bad != "" {
				t.Errorf("%s holds %s", path, bad)
			}
			for _, cell := range strings.FieldsFunc(string(text), func(c rune) bool { return c == ',' || c == '\n' }) {
				if c := strings.TrimLeft(cell, `"`); strings.HasPrefix(c, "=") {
					t.Errorf("%s has the formula %q", path, cell)
				}
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	if tables < 10 {
		t.Errorf("%d tables", tables)
	}
	for _, page := range []string{"done.html", "study.html"} {
		text, err := os.ReadFile(filepath.Join(w.dir, page))
		if err != nil {
			t.Error(err)
		}
		if bad := unprintable(text); bad != "" {
			t.Errorf("%s holds %s", page, bad)
		}
	}
}

// quoted returns a text as a TOML string that consists of escapes.
func quoted(text string) string {
	var b strings.Builder
	for _, c := range text {
		fmt.Fprintf(&b, `\U%08x`, c)
	}
	return `"` + b.String() + `"`
}

func (w *words) write(path, text string) {
	w.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		w.Fatal(err)
	}
}

func (w *words) append(path, text string) {
	w.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		w.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		w.Fatal(err)
	}
}

// event appends an event as another program would write it.
func (w *words) event(dir string, e map[string]any) {
	w.Helper()
	e["time"] = "2026-01-31T14:23:01Z"
	line, err := json.Marshal(e)
	if err != nil {
		w.Fatal(err)
	}
	w.append(filepath.Join(dir, "events.jsonl"), string(line)+"\n")
}

// status changes fields in the status of a run.
func (w *words) status(dir string, change map[string]any) {
	w.Helper()
	path := filepath.Join(dir, "status.json")
	text, err := os.ReadFile(path)
	if err != nil {
		w.Fatal(err)
	}
	s := map[string]any{}
	if err := json.Unmarshal(text, &s); err != nil {
		w.Fatal(err)
	}
	maps.Copy(s, change)
	if text, err = json.Marshal(s); err != nil {
		w.Fatal(err)
	}
	w.write(path, string(text))
}

// onlyRun returns the folder of the only run under a root.
func (w *words) onlyRun(root string) string {
	w.Helper()
	entries, err := os.ReadDir(root)
	if err != nil {
		w.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		if e.IsDir() && e.Name()[0] != '.' {
			found = append(found, filepath.Join(root, e.Name()))
		}
	}
	if len(found) != 1 {
		w.Fatalf("%d runs: %q", len(found), found)
	}
	return found[0]
}

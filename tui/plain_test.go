package tui

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hatchery/engine/runs"
	"hatchery/presets"
)

// TestPlain goes through a dialogue, which must not contain escape codes.
func TestPlain(t *testing.T) {
	dir := root(t)
	l := &launcher{start: func(c *presets.Config) (string, error) {
		if c.Modules.K != 2 {
			t.Errorf("started with K = %d", c.Modules.K)
		}
		return record(t, dir, "quickstart-new", []string{"modules.k=2"}, runs.Finished, 0), nil
	}}
	typist := &typist{asked: make(chan bool, 1), answers: []string{
		"help", "presets", "3", "modules.k=3", "start", "undo", "modules.k=2", "cost", "start", "runs", "", "quit"}}
	if err := Run(context.Background(), Options{Root: dir, Launcher: l, In: typist, Out: typist, Plain: true}); err != nil {
		t.Fatal(err)
	}
	got := typist.read.String()
	if strings.ContainsRune(got, '\x1b') {
		t.Error("escape codes")
	}
	rest := got
	for _, want := range []string{
		"type presets, runs or quit", "3: quickstart.", "error: ", "not possible with an error", "blocks in 2 modules", "steps, ",
		"starting", "quickstart-new: enter goes back", "meta done, epoch 6 of 6, loss 0.3833, top-1 71.67 percent", "run done",
		"result: assembling, top-1 79.50 percent", "3: quickstart-b", "presets, runs, or quit?",
	} {
		_, after, ok := strings.Cut(rest, want)
		if !ok {
			t.Fatalf("%q is missing or out of order:\n%s", want, got)
		}
		rest = after
	}
}

func TestPlainEnds(t *testing.T) {
	dir := root(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r, w := io.Pipe()
	defer w.Close()
	if err := Run(ctx, Options{Root: dir, Open: dir + "/quickstart-c", In: r, Out: io.Discard, Plain: true}); err != nil {
		t.Fatal(err)
	}
}

// TestPlainBrokenRuns is TestBrokenRuns for the dialogue.
func TestPlainBrokenRuns(t *testing.T) {
	dir := root(t)
	if err := os.WriteFile(filepath.Join(dir, "quickstart-a", "config.toml"), []byte("seed = \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for root, want := range map[string]string{dir: "quickstart-a, broken", dir + "-moved": "there is no folder"} {
		typist := &typist{asked: make(chan bool, 1), answers: []string{"runs", "", "quit"}}
		if root != dir {
			typist.answers = []string{"runs", "quit"}
		}
		if err := Run(t.Context(), Options{Root: root, In: typist, Out: typist, Plain: true}); err != nil {
			t.Fatal(err)
		}
		if got := typist.read.String(); !strings.Contains(got, want) {
			t.Errorf("%s: no %q in:\n%s", root, want, got)
		}
	}
}

// typist reads the output and types an answer to each question.
type typist struct {
	asked   chan bool
	answers []string
	read    strings.Builder
}

func (u *typist) Write(b []byte) (int, error) {
	u.read.Write(b)
	if strings.HasSuffix(string(b), " > ") {
		u.asked <- true
	}
	return len(b), nil
}

func (u *typist) Read(b []byte) (int, error) {
	<-u.asked
	if len(u.answers) == 0 {
		return 0, io.EOF
	}
	n := copy(b, u.answers[0]+"\n")
	u.answers = u.answers[1:]
	return n, nil
}

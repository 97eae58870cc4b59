package study

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hatchery/engine/launch"
	"hatchery/engine/pipeline"
	"hatchery/engine/runs"
	"hatchery/presets"
)

const definition = `
title  = "A tiny study"
preset = "quickstart"
set    = ["model.depth=4", "model.width=16", "model.heads=2", "data.train=200", "data.eval=100", "meta.epochs=2",
          "schedule=2+1", "train.warmup_epochs=0", "finetune.warmup_epochs=0", "e2e.epochs=2", "e2e.warmup_epochs=0", "run.equal=epochs"]

[[series]]
name   = "lr"
method = "assembling"
key    = "finetune.lr"
values = [1e-3, 1e-4]

[[series]]
name   = "depth"
method = "assembling"
key    = "model.depth"
values = [8]

[[series]]
name   = "e2e"
method = "e2e"

[[paper]]
source = "nowhere"
series = "lr"
point  = "0.001"
value  = 50.0
`

func tiny(t *testing.T) *presets.Study {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tiny.toml")
	if err := os.WriteFile(path, []byte(definition), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := presets.LoadStudy(path)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func execute(ctx context.Context, _ Cell, c *presets.Config, run *runs.Run) error {
	return launch.Execute(ctx, c, run, launch.Options{})
}

// executed lists the stages that a cell executed itself, in the order in which they ended, with
// their number of starts.
func executed(t *testing.T, s *Study, cell Cell) []string {
	t.Helper()
	var stages []string
	events, err := runs.ReadEvents(s.RunDir(cell))
	if err != nil {
		t.Fatal(err)
	}
	taken := map[string]bool{}
	for _, e := range events {
		switch {
		case e.Kind == runs.Info && strings.HasPrefix(e.Message, "taken over"):
			taken[e.Stage] = true
		case e.Kind == runs.StageEnd && !taken[e.Stage]:
			stages = append(stages, e.Stage)
		}
	}
	return stages
}

func TestStudy(t *testing.T) {
	ctx := context.Background()
	root := t.TempDir()
	s, err := Create(ctx, root, tiny(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	// Stopped when the first cell starts to fine-tune, as by Ctrl-C.
	stopping, stop := context.WithCancel(ctx)
	err = s.Execute(stopping, nil, func(ctx context.Context, cell Cell, c *presets.Config, run *runs.Run) error {
		run.Observe(func(e runs.Event) {
			if e.Kind == runs.StageEnd && e.Stage == "assemble" {
				stop()
			}
		})
		return execute(ctx, cell, c, run)
	})
	if !errors.Is(err, pipeline.ErrInterrupted) {
		t.Fatalf("stopped: %v", err)
	}
	if s, err = Open(root, s.ID); err != nil {
		t.Fatal(err)
	}
	var ran []string
	err = s.Execute(ctx, nil, func(ctx context.Context, cell Cell, c *presets.Config, run *runs.Run) error {
		ran = append(ran, cell.Name)
		return execute(ctx, cell, c, run)
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"lr-0.001", "lr-0.0001", "depth-8", "e2e"}; !slices.Equal(ran, want) {
		t.Errorf("ran %v, want %v", ran, want)
	}
	for i, want := range [][]string{
		{"meta", "module-1", "module-2", "module-3", "module-4", "assemble", "finetune"},
		{"finetune"},
		{"module-1", "module-2", "module-3", "module-4", "assemble", "finetune"}, // the meta model has the same depth
		{"e2e"},
	} {
		if got := executed(t, s, s.Cells[i]); !slices.Equal(got, want) {
			t.Errorf("%s executed %v, want %v", s.Cells[i].Name, got, want)
		}
	}

	// Executing it again does nothing.
	err = s.Execute(ctx, nil, func(_ context.Context, cell Cell, _ *presets.Config, run *runs.Run) error {
		t.Errorf("%s is executed again", cell.Name)
		return run.Close()
	})
	if err != nil {
		t.Fatal(err)
	}

	// A separate run ends with the same weights, bit for bit.
	c, err := s.Config(s.Cells[1])
	if err != nil {
		t.Fatal(err)
	}
	alone, err := runs.Create(root, "alone", c.TOML())
	if err != nil {
		t.Fatal(err)
	}
	if err := launch.Execute(ctx, c, alone, launch.Options{}); err != nil {
		t.Fatal(err)
	}
	a, err := runs.LoadFinal(alone.Dir(), "finetune")
	if err != nil {
		t.Fatal(err)
	}
	b, err := runs.LoadFinal(s.RunDir(s.Cells[1]), "finetune")
	if err != nil {
		t.Fatal(err)
	}
	for i := range a.Tensors {
		if !slices.Equal(a.Tensors[i].Data, b.Tensors[i].Data) {
			t.Fatalf("%s differs between a cell with shared stages and a run on its own", a.Tensors[i].Name)
		}
	}

	results := s.Results(t.Context())
	r := results[1]
	if len(r.Gains) != 4 || len(r.Curve) != 2 || len(r.Shared) != 6 || r.Phase != runs.Finished || !(r.Proportion() > 0 && r.Proportion() < 100) {
		t.Errorf("result %+v", r)
	}
	if r.Paper != nil {
		t.Errorf("the paper has no number for this cell: %+v", r.Paper)
	}
	if p := results[0].Paper; p == nil || p.Value != 50 {
		t.Errorf("the paper's number: %+v", p)
	}
	curves := s.Curves(results)
	if len(curves) != 3 || len(curves[0].Points) != 2 || curves[0].Points[0].X != 1e-4 || !curves[2].Level {
		t.Errorf("curves %+v", curves)
	}
	// The time of a cell includes that of stages it has taken over.
	whole := s.Y(results[1])
	if math.IsNaN(whole) || results[1].Values[pipeline.CPUSeconds] < results[0].Values[pipeline.CPUSeconds]/4 {
		t.Errorf("values %v", results[1].Values)
	}
}

func TestFailingCell(t *testing.T) {
	ctx := context.Background()
	s, err := Create(ctx, t.TempDir(), tiny(t), Options{Scale: 0.5})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = s.Execute(ctx, nil, func(ctx context.Context, cell Cell, c *presets.Config, run *runs.Run) error {
		if n++; n == 2 {
			return errors.Join(errors.New("the disk is full"), run.Finish(runs.Failed, "the disk is full"), run.Close())
		}
		return execute(ctx, cell, c, run)
	})
	if err == nil || !strings.Contains(err.Error(), "cell lr-0.0001: the disk is full") || n != 4 {
		t.Errorf("%d cells were tried: %v", n, err)
	}
	results := s.Results(t.Context())
	if results[1].Phase != runs.Failed || results[1].Values != nil || results[3].Values == nil {
		t.Errorf("results %+v", results)
	}
	if err := s.Execute(ctx, nil, execute); err != nil {
		t.Errorf("repaired: %v", err)
	}
}

func TestLocked(t *testing.T) {
	ctx := context.Background()
	s, err := Create(ctx, t.TempDir(), tiny(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if err := s.Execute(ctx, nil, execute); !errors.Is(err, ErrLocked) {
		t.Errorf("%v", err)
	}
}

// Running does not prevent another process from executing the study, and concurrent calls do
// not affect one another.
func TestRunning(t *testing.T) {
	ctx := t.Context()
	s, err := Create(ctx, t.TempDir(), tiny(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if running, err := s.Running(); running || err != nil {
		t.Errorf("before it was ever executed: %v, %v", running, err)
	}
	if err := s.Stop(ctx); !errors.Is(err, launch.ErrNotRunning) {
		t.Errorf("stopped: %v", err)
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if running, err := s.Running(); !running || err != nil {
		t.Errorf("locked: %v, %v", running, err)
	}
	if err := s.Detach(ctx); !errors.Is(err, ErrLocked) {
		t.Errorf("a second process: %v", err)
	}
	unlock()
	var askers sync.WaitGroup
	for range 4 {
		askers.Go(func() {
			for range 100 {
				if running, err := s.Running(); running || err != nil {
					t.Errorf("asked by several: %v, %v", running, err)
					return
				}
			}
		})
	}
	askers.Wait()
	for range 4 {
		askers.Go(func() {
			for range 100 {
				s.Running()
			}
		})
	}
	for range 50 {
		unlock, err := s.lock(ctx)
		if err != nil {
			t.Errorf("kept out by those who ask: %v", err)
			break
		}
		unlock()
	}
	askers.Wait()
}

func TestStop(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := Create(ctx, t.TempDir(), tiny(t), Options{Set: []string{"meta.epochs=100000"}})
	if err != nil {
		t.Fatal(err)
	}
	started, ended := make(chan struct{}), make(chan error)
	go func() { ended <- s.Execute(ctx, &Watcher{Started: func() { close(started) }}, execute) }()
	<-started // the run of the first cell may not have started yet
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, pipeline.ErrInterrupted) {
		t.Errorf("the study ended with %v", err)
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		t.Fatalf("stopped, and nobody else can go on: %v", err)
	}
	unlock()
}

func TestRefused(t *testing.T) {
	ctx := context.Background()
	root := filepath.Join(t.TempDir(), "runs")
	for _, test := range []struct {
		o    Options
		want string
	}{
		{Options{Scale: 2}, "scale"},
		{Options{Small: true}, "no variant for a small machine"},
		{Options{Set: []string{"modules.k=3"}}, "cell lr-0.001"},
		{Options{Set: []string{"modules.kk=3"}}, "did you mean modules.k?"},
	} {
		if _, err := Create(ctx, root, tiny(t), test.o); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %s", test.o, err, test.want)
		}
	}
	if _, err := os.Stat(root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something is left of a study that was refused: %v", err)
	}
}

// TestTakenOverOnlyFromTheSame checks that a stage of another cell is not taken over if the data
// or the configuration have changed since, or if its file is damaged. The study then emits a
// warning and trains the stage.
func TestTakenOverOnlyFromTheSame(t *testing.T) {
	ctx := t.Context()
	for what, test := range map[string]struct {
		change func(s *Study) error // after the first cell
		said   string
		shares bool // the stages that do not depend on it
	}{
		"nothing": {change: func(*Study) error { return nil }, shares: true},
		"the images": {change: func(s *Study) error {
			return rewriteOutcome(s.RunDir(s.Cells[0]), func(o *runs.Outcome) { o.Data.Train.Digest = strings.Repeat("0", 64) })
		}, said: "training images: there are still 200, but files were renamed, replaced or moved between classes"},
		"the classes": {change: func(s *Study) error {
			return rewriteOutcome(s.RunDir(s.Cells[0]), func(o *runs.Outcome) { o.Data.Classes[2] = "zebra" })
		}, said: `class 3 of 10 was "zebra"`},
		"the recipe": {change: func(s *Study) error {
			return rewriteOutcome(s.RunDir(s.Cells[0]), func(o *runs.Outcome) { o.Recipe["seed"] = "9" })
		}, said: "seed was 9 there and is 0 here"},
		"a file": {change: func(s *Study) error {
			return os.Truncate(filepath.Join(runs.StageDir(s.RunDir(s.Cells[0]), "meta"), "checkpoint-2.safetensors"), 100)
		}, said: "its final checkpoint cannot be used"},
	} {
		t.Run(what, func(t *testing.T) {
			d := tiny(t)
			d.Series = d.Series[:1] // two cells, which differ in fine-tuning
			s, err := Create(ctx, t.TempDir(), d, Options{})
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			err = s.Execute(ctx, nil, func(ctx context.Context, cell Cell, c *presets.Config, run *runs.Run) error {
				err := execute(ctx, cell, c, run)
				if n++; n == 1 && err == nil {
					err = test.change(s)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			got := executed(t, s, s.Cells[1])
			if shared := slices.Equal(got, []string{"finetune"}); shared != test.shares {
				t.Errorf("the second cell executed %v", got)
			}
			state, err := runs.ReadState(t.Context(), s.RunDir(s.Cells[1]))
			if err != nil {
				t.Fatal(err)
			}
			said := ""
			for _, w := range state.Warnings {
				said += w.Message + "\n"
			}
			if test.said != "" && !(strings.Contains(said, "not taken over from run "+s.Cells[0].Run) && strings.Contains(said, test.said)) || test.said == "" && said != "" {
				t.Errorf("warnings are\n%s", said)
			}
		})
	}
}

// rewriteOutcome changes the outcome of stage meta of a run.
func rewriteOutcome(dir string, change func(*runs.Outcome)) error {
	o, err := runs.ReadOutcome(dir, "meta")
	if err != nil {
		return err
	}
	change(o)
	data, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(runs.StageDir(dir, "meta"), "done"), data, 0o600)
}

// TestEditedCell checks that a cell whose configuration was edited between two processes is
// refused with the name of the key, and is not changed.
func TestEditedCell(t *testing.T) {
	ctx := t.Context()
	d := tiny(t)
	d.Series = d.Series[:1]
	s, err := Create(ctx, t.TempDir(), d, Options{})
	if err != nil {
		t.Fatal(err)
	}
	stopping, stop := context.WithCancel(ctx)
	defer stop()
	err = s.Execute(stopping, nil, func(ctx context.Context, cell Cell, c *presets.Config, run *runs.Run) error {
		run.Observe(func(e runs.Event) {
			if e.Kind == runs.Saved {
				stop()
			}
		})
		return execute(ctx, cell, c, run)
	})
	if !errors.Is(err, pipeline.ErrInterrupted) {
		t.Fatal(err)
	}
	path := s.configPath(s.Cells[0])
	c, err := presets.Load(path, []string{"meta.lr=1e-9"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, c.TOML(), 0o600); err != nil {
		t.Fatal(err)
	}
	before, err := runs.ReadEvents(s.RunDir(s.Cells[0]))
	if err != nil {
		t.Fatal(err)
	}
	err = s.Execute(ctx, nil, execute)
	var invalid *pipeline.Invalid
	if !errors.As(err, &invalid) || !strings.Contains(err.Error(), "meta.lr was 0.003 when meta was trained, and is 1e-09 now") || !strings.Contains(err.Error(), path) {
		t.Errorf("%v", err)
	}
	if after, err := runs.ReadEvents(s.RunDir(s.Cells[0])); err != nil || len(after) != len(before) {
		t.Errorf("%d events, %d before, %v", len(after), len(before), err)
	}
}

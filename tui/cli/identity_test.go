package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hatchery/engine/pipeline"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// small holds the settings of a very short experiment on two classes of pictures.
var small = []string{
	"data.name=folder", "model.image=28", "model.channels=3", "model.patch=14", "model.classes=2", "model.width=8", "model.heads=2", "model.depth=2",
	"modules.k=2", "train.batch=10", "e2e.batch=10", "train.warmup_epochs=0", "finetune.warmup_epochs=0", "e2e.warmup_epochs=0",
	"meta.epochs=2", "schedule=2+1", "e2e.epochs=1", "run.equal=epochs", "run.methods=assembling", "run.device=cpu", "run.threads=1",
}

// shop is a test with a folder of runs, a folder of pictures and an App.
type shop struct {
	testing.TB
	app      *App
	out, err bytes.Buffer
	data     string
}

func newShop(t testing.TB) *shop {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	s := &shop{TB: t, data: t.TempDir()}
	s.app = &App{Out: &s.out, Err: &s.err, Root: t.TempDir()}
	for split, n := range map[string]int{"train": 20, "val": 8} {
		for i, class := range []string{"cat", "dog"} {
			dir := filepath.Join(s.data, split, class)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			for j := range n {
				s.picture(filepath.Join(dir, fmt.Sprintf("%02d.png", j)), uint8(10*j+100*i), 28)
			}
		}
	}
	return s
}

func (s *shop) picture(path string, value uint8, size int) {
	s.Helper()
	m := image.NewRGBA(image.Rect(0, 0, size, size))
	for i := range size * size {
		m.Set(i%size, i/size, color.RGBA{value, uint8(i), uint8(i * int(value)), 255})
	}
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		s.Fatal(err)
	}
}

// finished executes an experiment to its end and returns its folder.
func (s *shop) finished(sets ...string) string {
	s.Helper()
	return s.start(s.Context(), nil, sets)
}

// stopped executes an experiment until its modules have trained for an epoch, and returns
// its folder.
func (s *shop) stopped(sets ...string) string {
	s.Helper()
	ctx, stop := context.WithCancel(s.Context())
	defer stop()
	go func() {
		for ctx.Err() == nil {
			if found, _ := filepath.Glob(filepath.Join(s.app.Root, "*", "stages", "module-2", "checkpoint-*.safetensors")); found != nil {
				stop()
			}
			time.Sleep(time.Millisecond)
		}
	}()
	dir := s.start(ctx, pipeline.ErrInterrupted, append([]string{"schedule=2000+1"}, sets...))
	if done, _ := runs.ReadOutcome(dir, "module-1"); done != nil {
		s.Fatal("the modules are done; they must be longer")
	}
	return dir
}

func (s *shop) start(ctx context.Context, want error, sets []string) string {
	s.Helper()
	all := slices.Concat(small, []string{"data.root=" + s.data}, sets)
	if err := (&Run{PresetArg: PresetArg{"quickstart", all}}).Run(ctx, s.app); !errors.Is(err, want) {
		s.Fatalf("%v\n%s", err, &s.err)
	}
	found, _ := filepath.Glob(filepath.Join(s.app.Root, "*", "config.toml"))
	if len(found) != 1 {
		s.Fatalf("runs %v", found)
	}
	return filepath.Dir(found[0])
}

// edit changes values in the configuration of a run.
func (s *shop) edit(dir string, sets ...string) {
	s.Helper()
	path := filepath.Join(dir, "config.toml")
	c, err := presets.Load(path, sets)
	if err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(path, c.TOML(), 0o600); err != nil {
		s.Fatal(err)
	}
}

// print returns a listing of a folder with the contents of its files.
func (s *shop) print(dir string) string {
	s.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		fmt.Fprintf(&all, "%s %x\n", path, sha256.Sum256(data))
		return err
	})
	if err != nil {
		s.Fatal(err)
	}
	return all.String()
}

// ways are the commands that continue a run.
func (s *shop) ways(dir string) map[string]func() error {
	return map[string]func() error{
		"resume":          func() error { return (&Resume{RunArg: RunArg{dir}}).Run(s.Context(), s.app) },
		"resume --detach": func() error { return (&Resume{RunArg{dir}, Start{Detach: true}}).Run(s.Context(), s.app) },
		"resume --queue":  func() error { return (&Resume{RunArg{dir}, Start{Queue: true}}).Run(s.Context(), s.app) },
		"stage module-1": func() error {
			return (&Stage{RunArg: RunArg{dir}, Stages: []string{"module-1"}}).Run(s.Context(), s.app)
		},
	}
}

// refused fails unless all commands refuse to continue a run, with exit code 2 and the given
// words, and leave its folder unchanged.
func (s *shop) refused(dir, what string, words ...string) {
	s.Helper()
	before := s.print(dir)
	for way, run := range s.ways(dir) {
		err := run()
		if err == nil || ExitCode(err) != ExitBadInput {
			s.Errorf("%s, %s: error %v, code %d", what, way, err, ExitCode(err))
			continue
		}
		for _, w := range append(words, "hatchery resume "+dir) {
			if !strings.Contains(err.Error(), w) {
				s.Errorf("%s, %s: no %q in\n%v", what, way, w, err)
			}
		}
		if s.print(dir) != before {
			s.Fatalf("%s, %s: the folder has changed", what, way)
		}
	}
}

// warnings returns the warnings of a run.
func (s *shop) warnings(dir string) []string {
	s.Helper()
	state, err := runs.ReadState(s.Context(), dir)
	if err != nil {
		s.Fatal(err)
	}
	var all []string
	for _, w := range state.Warnings {
		all = append(all, w.Message)
	}
	return all
}

func (s *shop) resume(dir string) {
	s.Helper()
	if err := (&Resume{RunArg: RunArg{dir}}).Run(s.Context(), s.app); err != nil {
		s.Fatal(err)
	}
}

// TestEditedBetween edits settings that change the result while a run is stopped. All
// commands must refuse to continue, name the key, and leave the folder unchanged.
func TestEditedBetween(t *testing.T) {
	s := newShop(t)
	dir := s.stopped()
	config, err := os.ReadFile(filepath.Join(dir, "config.toml"))
	if err != nil {
		t.Fatal(err)
	}
	restore := func() {
		if err := os.WriteFile(filepath.Join(dir, "config.toml"), config, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for set, want := range map[string][2]string{
		"seed=7":                 {"seed was 0 when meta", ", and is 7 now"},
		"meta.lr=1e-5":           {"meta.lr was 0.003 when meta was trained", ", and is 1e-05 now"},
		"modular.lr=1e-5":        {"modular.lr was 0.003 when module-1", ", and is 1e-05 now"},
		"modular.optimizer=lamb": {`modular.optimizer was "adamw" when module-1`, `, and is "lamb" now`},
		"modular.batch=5":        {"modular.batch was 10 when module-1", ", and is 5 now"},
		"modular.ema=0.9":        {"modular.ema was 0 when module-1", ", and is 0.9 now"},
		"modular.epochs=2001":    {"modular.epochs was 2000 when module-1", ", and is 2001 now"},
		"data.train=20":          {"data.train was 0 when meta", ", and is 20 now"},
		"modules.k=1":            {"modules.k was 2 when module-1", ", and is 1 now"},
		"augment.mixup=0.8":      {"augment.mixup was 0 when meta", ", and is 0.8 now"},
	} {
		s.edit(dir, set)
		s.refused(dir, set, want[0], want[1], filepath.Join(dir, "stages", "module-1"), "hatchery run "+filepath.Join(dir, "config.toml"))
		restore()
	}
	s.edit(dir, "seed=7", "modular.lr=1e-5", "modular.clip_grad=0")
	s.refused(dir, "three keys", "seed was 0", "modular.lr was 0.003", "modular.clip_grad was 1")

	// One solution that the error suggests: a new run with the present settings.
	s.edit(dir, "schedule=1+1", "meta.epochs=1")
	if err := (&Run{PresetArg: PresetArg{Preset: filepath.Join(dir, "config.toml")}}).Run(t.Context(), s.app); err != nil {
		t.Error(err)
	}
}

// TestEditedAfter edits settings after the run is done. Those of stages that are done must be
// refused; those of stages that have not started may change.
func TestEditedAfter(t *testing.T) {
	s := newShop(t)
	dir := s.finished()
	s.edit(dir, "finetune.lr=1e-5")
	before := s.print(dir)
	if err := (&Resume{RunArg: RunArg{dir}}).Run(t.Context(), s.app); ExitCode(err) != ExitBadInput || !strings.Contains(err.Error(), "finetune.lr was 0.001 when finetune was trained, and is 1e-05 now") {
		t.Errorf("code %d, %v", ExitCode(err), err)
	}
	if s.print(dir) != before {
		t.Error("the folder has changed")
	}

	// When its folder is removed, fine-tuning is trained again with the new learning rate.
	if err := os.RemoveAll(filepath.Join(dir, "stages", "finetune")); err != nil {
		t.Fatal(err)
	}
	s.resume(dir)
	o, err := runs.ReadOutcome(dir, "finetune")
	if err != nil || o == nil || o.Identity == nil || o.Recipe["finetune.lr"] != "1e-05" {
		t.Fatalf("%+v, %v", o, err)
	}
	if !slices.Equal(o.Data.Classes, []string{"cat", "dog"}) || o.Data.Train.Count != 40 || o.Data.Eval.Count != 16 || o.Data.Train.Digest == "" {
		t.Errorf("the done file says of the data %+v", o.Data)
	}
	if w := s.warnings(dir); len(w) > 0 {
		t.Errorf("warnings %q", w)
	}

	// Add a method.
	s.edit(dir, `run.methods=["assembling","e2e"]`)
	s.resume(dir)
	if o, err := runs.ReadOutcome(dir, "e2e"); err != nil || o == nil {
		t.Errorf("e2e was not trained: %v", err)
	}
}

// TestObeyedBetween edits settings that do not change the result. They are accepted, with a
// warning if they change rounding or curves.
func TestObeyedBetween(t *testing.T) {
	t.Run("without a word", func(t *testing.T) {
		s := newShop(t)
		dir := s.stopped("schedule=8+1")
		s.edit(dir, "run.threads=2", "launch.slurm.partition=gpu", "title=another", "notes=other", "data.skip_corrupt=true", "finetune.lr=1e-5")
		s.resume(dir)
		if w := s.warnings(dir); len(w) > 0 {
			t.Errorf("warnings %q", w)
		}
	})
	for set, want := range map[string]string{
		"modular.micro_batch=5": "modular.micro_batch was 0 when module-1 and module-2 were trained, and is 5 now: the result will be the same up to rounding",
		"run.together=false":    "run.together was true when module-1 and module-2 were trained, and is false now: the result will be the same up to rounding",
		"modular.eval_every=7":  "modular.eval_every was 1 when module-1 and module-2 were trained, and is 7 now: this changes when it is evaluated",
	} {
		t.Run(set, func(t *testing.T) {
			s := newShop(t)
			dir := s.stopped("modular.eval_every=1", "schedule=8+1")
			s.edit(dir, set)
			s.resume(dir)
			if w := s.warnings(dir); len(w) != 1 || !strings.HasPrefix(w[0], want) {
				t.Errorf("warnings %q, want %q", w, want)
			}
			// The recipe has the new setting, and there is no further warning.
			o, err := runs.ReadOutcome(dir, "module-1")
			if err != nil || o == nil {
				t.Fatal(err)
			}
			key, _, _ := strings.Cut(set, "=")
			if !strings.Contains(o.Recipe[key], ", then ") {
				t.Errorf("%s = %q", key, o.Recipe[key])
			}
			s.resume(dir)
			if w := s.warnings(dir); len(w) != 1 {
				t.Errorf("warnings %q", w)
			}
		})
	}
}

// TestOtherClasses checks that other classes are refused, because labels would change their
// meaning.
func TestOtherClasses(t *testing.T) {
	s := newShop(t)
	dir := s.stopped()
	for _, split := range []string{"train", "val"} {
		if err := os.Rename(filepath.Join(s.data, split, "cat"), filepath.Join(s.data, split, "zebra")); err != nil {
			t.Fatal(err)
		}
	}
	const want = `class 1 of 2 was "cat" and is "dog"`
	s.refused(dir, "cat is zebra", "the classes of the data set differ from those on which meta", want)
	if err := (&Eval{RunArg: RunArg{dir}, Stage: "meta"}).Run(t.Context(), s.app); ExitCode(err) != ExitBadInput || !strings.Contains(err.Error(), want) {
		t.Errorf("eval: code %d, %v", ExitCode(err), err)
	}
	if s.out.Len() > 0 && strings.Contains(s.out.String(), "after epoch") && strings.Contains(s.out.String(), "meta after") {
		t.Errorf("eval says\n%s", &s.out)
	}
}

// TestOtherImages checks that another number of training images is refused in the middle of
// a stage, and that other changes of the images are reported.
func TestOtherImages(t *testing.T) {
	first := func(s *shop, split string) string { return filepath.Join(s.data, split, "cat", "00.png") }
	for what, test := range map[string]struct {
		change  func(s *shop) error
		refused string
		warned  string
		eval    string
	}{
		"a training picture deleted": {
			change:  func(s *shop) error { return os.Remove(first(s, "train")) },
			refused: "trained: there were 40, now there are 39",
			warned:  "the training images differ from those on which meta, module-1, module-2 and finetune were trained: there were 40, now there are 39",
		},
		"a training picture replaced": {
			change:  func(s *shop) error { s.picture(first(s, "train"), 3, 40); return nil },
			refused: "trained: there are still 40, but files were renamed, replaced or moved between classes",
			warned:  "the training images differ from those on which meta, module-1, module-2 and finetune were trained: there are still 40, but files were renamed, replaced or moved between classes",
		},
		"the pictures of two classes exchanged": {
			change: func(s *shop) error {
				cat, dog, other := filepath.Join(s.data, "train", "cat"), filepath.Join(s.data, "train", "dog"), filepath.Join(s.data, "other")
				return errors.Join(os.Rename(cat, other), os.Rename(dog, cat), os.Rename(other, dog))
			},
			refused: "trained: there are still 40, but files were renamed, replaced or moved between classes",
			warned:  "the training images differ from those on which meta, module-1, module-2 and finetune were trained: there are still 40, but files were renamed, replaced or moved between classes",
		},
		"a picture of evaluation deleted": {
			change: func(s *shop) error { return os.Remove(first(s, "val")) },
			warned: "the evaluation images have changed since %s were trained, so accuracies cannot be compared: there were 16, now there are 15",
			eval:   "warning: the evaluation images have changed since the stage was trained: there were 16, now there are 15",
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := newShop(t)
			dir := s.stopped("schedule=8+1")
			if err := test.change(s); err != nil {
				t.Fatal(err)
			}
			stages := "meta, module-1 and module-2"
			if test.refused != "" {
				s.refused(dir, what, "the training images differ from those on which module-1", test.refused)
				s = newShop(t)
				dir = s.finished()
				if err := test.change(s); err != nil {
					t.Fatal(err)
				}
			}
			s.resume(dir)
			want := strings.ReplaceAll(test.warned, "%s", stages)
			if got := s.warnings(dir); len(got) != 1 || got[0] != want {
				t.Errorf("warnings %q, want %q", got, want)
			}
			s.err.Reset()
			if err := (&Eval{RunArg: RunArg{dir}, Stage: "meta"}).Run(t.Context(), s.app); err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimSpace(s.err.String()); got != test.eval {
				t.Errorf("eval says %q, want %q", got, test.eval)
			}
		})
	}
}

// The name of a class folder may be invalid UTF-8, such as Latin-1. All stages of a run must
// agree on the classes, and a renamed folder must be noticed.
func TestClassesThatAreNotUTF8(t *testing.T) {
	rename := func(s *shop, from, to string) {
		t.Helper()
		for _, split := range []string{"train", "val"} {
			if err := os.Rename(filepath.Join(s.data, split, from), filepath.Join(s.data, split, to)); err != nil {
				t.Skip("this file system accepts only UTF-8 names:", err)
			}
		}
	}
	s := newShop(t)
	rename(s, "cat", "caf\xe9")
	dir := s.finished()
	s.resume(dir)
	if err := (&Eval{RunArg: RunArg{dir}, Stage: "finetune"}).Run(t.Context(), s.app); err != nil {
		t.Error(err)
	}

	s = newShop(t)
	rename(s, "cat", "caf\xe9")
	dir = s.stopped("schedule=8+1")
	rename(s, "caf\xe9", "caf\xe8")
	s.refused(dir, "another class", `class 1 of 2 was "caf\\xe9" and is "caf\\xe8"`)
}

// TestMovedData checks that the images may be in another folder if they are the same.
func TestMovedData(t *testing.T) {
	s := newShop(t)
	dir := s.stopped("schedule=8+1")
	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(s.data, moved); err != nil {
		t.Fatal(err)
	}
	other := newShop(t)
	for _, split := range []string{"train", "val"} {
		if err := os.Rename(filepath.Join(other.data, split, "dog"), filepath.Join(other.data, split, "horse")); err != nil {
			t.Fatal(err)
		}
	}
	s.edit(dir, "data.root="+other.data)
	s.refused(dir, "another folder", `class 2 of 2 was "dog" and is "horse"`, "data.root")
	s.edit(dir, "data.root="+moved)
	s.resume(dir)
	if w := s.warnings(dir); len(w) > 0 {
		t.Errorf("warnings %q", w)
	}
}

// TestEvalOfAnotherNetwork checks that eval refuses a checkpoint of a network with another
// number of heads, although all shapes are the same.
func TestEvalOfAnotherNetwork(t *testing.T) {
	s := newShop(t)
	dir := s.finished()
	s.edit(dir, "model.heads=4")
	if err := (&Eval{RunArg: RunArg{dir}, Stage: "meta"}).Run(t.Context(), s.app); ExitCode(err) != ExitBadInput || !strings.Contains(err.Error(), "model.heads was 2 when meta was trained, and is 4 now") {
		t.Errorf("code %d, %v", ExitCode(err), err)
	}
	s.edit(dir, "model.heads=2", "meta.lr=1", "run.threads=2") // which evaluation does not ask for
	if err := (&Eval{RunArg: RunArg{dir}, Stage: "meta"}).Run(t.Context(), s.app); err != nil {
		t.Error(err)
	}
}

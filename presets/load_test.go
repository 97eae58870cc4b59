package presets

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// write writes files to a new folder and returns the folder.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, src := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(src), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func mustLoad(t *testing.T, ref string, sets ...string) *Config {
	t.Helper()
	c, err := Load(ref, sets)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Users read the messages, so they are compared in full.
func TestBadFiles(t *testing.T) {
	for _, c := range []struct{ name, src, want string }{
		{"unknown key", "extends = \"quickstart\"\n\n[model]\nwidht = 64 # comment\n",
			"x.toml:4: model.widht: unknown key; did you mean model.width?"},
		{"key outside its table", "depth = 8\n",
			"x.toml:1: depth: unknown key; did you mean model.depth?"},
		{"stage key outside its table", "lr = 1e-3\n",
			"x.toml:1: lr: unknown key; did you mean train.lr?"},
		{"key in the wrong table", "[data]\nmixup = 0.8\n",
			"x.toml:2: data.mixup: unknown key; did you mean augment.mixup?"},
		{"unknown table", "seed = 1\n[modle]\nwidth = 64\nheads = 4\n",
			"x.toml:2: modle: unknown key; did you mean model?"},
		{"nothing near", "[modules]\nxylophone = 64\n",
			"x.toml:2: modules.xylophone: unknown key; the keys of [modules] are k, split, meta_depth"},
		{"a table in a table", "[launch.slum]\ntime = \"1\"\n",
			"x.toml:1: launch.slum: unknown key; did you mean launch.slurm?"},
		{"nothing near in a table of tables", "[launch.xylophone]\ntime = \"1\"\n",
			"x.toml:1: launch.xylophone: unknown key; the keys of [launch] are parts, slurm"},
		{"nothing near in an unknown table", "[xylophone.of]\nsize = 64\n",
			"x.toml:1: xylophone: unknown key; the keys and tables of a preset are extends, abstract, name, title, notes, seed, schedule, compat, missing, model, modules, data, augment, run, launch, train, meta, modular, finetune, e2e, highres, paper"},
		{"nothing near at the top", "xylophone = 64\n",
			"x.toml:1: xylophone: unknown key; the keys and tables of a preset are extends, abstract, name, title, notes, seed, schedule, compat, missing, model, modules, data, augment, run, launch, train, meta, modular, finetune, e2e, highres, paper"},
		{"case counts", "[model]\nWidth = 64\n",
			"x.toml:2: model.Width: unknown key; did you mean model.width?"},
		{"dotted key", "model.width = 64\nmodel.hedas = 4\n",
			"x.toml:2: model.hedas: unknown key; did you mean model.heads?"},
		{"inline table", "title = '''\nmodel = #\n'''\nmodel = { width = 64, hedas = \"#}\" }\n",
			"x.toml:4: model.hedas: unknown key; did you mean model.heads?"},
		{"several", "[model]\nwidht = 64\nheads = \"four\"\n[train]\nbatch = 1e2\n",
			"3 problems in the configuration:\n" +
				"  x.toml:2: model.widht: unknown key; did you mean model.width?\n" +
				"  x.toml:3: model.heads: want an integer, got the string \"four\"\n" +
				"  x.toml:5: train.batch: want an integer, got the number 100; write 100"},
		{"string for a number", "[train]\nlr = \"1e-3\"\n",
			"x.toml:2: train.lr: want a number, got the string \"1e-3\""},
		{"fraction", "[modules]\nk = 2.5\n",
			"x.toml:2: modules.k: want an integer, got the number 2.5"},
		{"negative seed", "seed = -1\n",
			"x.toml:1: seed: want an integer of at least 0, got the integer -1"},
		{"number for a boolean", "[run]\ntogether = 1\n",
			"x.toml:2: run.together: want true or false, got the integer 1"},
		{"array element", "[modules]\nsplit = [\n  2, # [\n  2,\n  \"2\",\n]\n",
			"x.toml:5: modules.split[2]: want an integer, got the string \"2\""},
		{"date", "name = 2024-01-01\n",
			"x.toml:1: name: want a string in quotes, got a date"},
		{"value for an array", "[run]\nmethods = \"e2e\"\n",
			"x.toml:2: run.methods: want an array of strings, got the string \"e2e\""},
		{"value for a table", "model = 3\n",
			"x.toml:1: model: want a table, got the integer 3; write [model] with its keys below"},
		{"array for a table", "[[model]]\nwidth = 3\n",
			"x.toml:1: model: want a table, got an array; write [model] with its keys below"},
		{"table for a value", "[seed]\na = 1\n",
			"x.toml:1: seed: want an integer of at least 0, got a table"},
		{"paper", "[[paper]]\nsource = \"a\"\nmetric = \"top1\"\nvalue = 1\n\n[[paper]]\nsorce = \"a\"\nmetric = \"top1\"\nvalue = \"1\"\n",
			"3 problems in the configuration:\n" +
				"  x.toml:6: paper[1]: source is missing\n" +
				"  x.toml:9: paper[1].value: want a number, got the string \"1\"\n" +
				"  x.toml:7: paper[1].sorce: unknown key; did you mean source?"},
		{"schedule", "schedule = \"200\"\n",
			"x.toml:1: schedule = \"200\": not a schedule; write modular + fine-tuning epochs, such as \"200+100\""},
		{"schedule against epochs", "schedule = \"200+100\"\n[finetune]\nepochs = 50\n",
			"x.toml:3: finetune.epochs = 50: contradicts schedule = \"200+100\" (x.toml:1); keep one of the two"},
		{"syntax", "seed = 1\n[model]\n\twidth == 64\n",
			"x.toml:3:9: expected value but found '=' instead\n  3 | \twidth == 64\n    | \t       ^"},
		{"key twice", "seed = 1\nseed = 2\n",
			"x.toml:2:9: Key 'seed' has already been defined.\n  2 | seed = 2\n    |         ^"},
		{"unended string", "title = \"abc\nseed = 1\n",
			"x.toml:1:13: strings cannot contain newlines\n  1 | title = \"abc\n    |             ^"},
		{"missing keys", "[model]\nwidth = 64\n[data]\nname = \"a\"\n",
			"2 problems in the configuration:\n" +
				"  x.toml: model.depth: missing; set it to an integer, or extend a preset that has it\n" +
				"  x.toml: model.heads: missing; set it to an integer, or extend a preset that has it"},
		{"shared key without effect", "extends = \"quickstart\"\n[train]\nepochs = 3\n",
			"x.toml:3: train.epochs: has no effect: every stage sets its own epochs (" + place("quickstart", "meta", "epochs") + ": meta.epochs); " +
				"set it for the stages: meta.epochs, modular.epochs, finetune.epochs, e2e.epochs, highres.epochs"},
		{"unknown parent", "# comment\nextends = \"quikstart\"\n",
			"x.toml:2: extends = \"quikstart\": no preset \"quikstart\"; did you mean quickstart? (a file's path ends in .toml)"},
		{"itself", "extends = \"x.toml\"\n",
			"x.toml:1: extends = \"x.toml\" forms a cycle: x.toml -> x.toml; remove extends from one of them"},
		{"abstract", "abstract = true\n",
			"x.toml:1: x is a base for other presets, not an experiment; name one that extends it (" + strings.Join(loadable(), ", ") + ")"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := write(t, map[string]string{"x.toml": c.src})
			_, err := Load(filepath.Join(dir, "x.toml"), nil)
			if err == nil {
				t.Fatal("no error")
			}
			if got := strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), ""); got != c.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, c.want)
			}
		})
	}
}

func TestBadFlags(t *testing.T) {
	for _, c := range []struct{ set, want string }{
		{"modules.k", "--set modules.k: not key=value; write for example --set modules.k=8"},
		{"module.k=8", "--set module.k=8: module.k: unknown key; did you mean modules.k?"},
		{"init.from=x", "--set init.from=x: init.from: unknown key; there is no table [init]; the tables are model, modules, data, augment, run, launch, launch.slurm, train, meta, modular, finetune, e2e, highres"},
		{"init=x", "--set init=x: init: unknown key; the keys and tables of a preset are extends, abstract, name, title, notes, seed, schedule, compat, missing, model, modules, data, augment, run, launch, train, meta, modular, finetune, e2e, highres, paper"},
		{"modules.k.x=1", "--set modules.k.x=1: modules.k.x: unknown key; did you mean modules.k?"},
		{"title=\xff", "--set title=\\xff: is not UTF-8, which a configuration must be; write it in UTF-8; if a path is not UTF-8, make a link to it"},
		{"k=8", "--set k=8: k: unknown key; did you mean modules.k?"},
		{"modules=8", "--set modules=8: modules: is a table; set one of its keys, such as modules.k=..."},
		{"modules.k=eight", "--set modules.k=eight: modules.k: want an integer, got \"eight\""},
		{"modules.k=", "--set modules.k=: modules.k: want an integer, got \"\""},
		{"modules.k=8.5", "--set modules.k=8.5: modules.k: want an integer, got the number 8.5"},
		{"modules.k=8\nseed = 3", "--set modules.k=8\\nseed = 3: modules.k: want an integer, got \"8\\nseed = 3\""},
		{"modules.split=1,two", "--set modules.split=1,two: modules.split: want an array of integers, got \"1,two\""},
		{"run.methods=[1]", "--set run.methods=[1]: run.methods[0]: want a string in quotes, got the integer 1"},
		{"extends=quickstart", "--set extends=quickstart: extends: cannot be set by a flag; write a file that extends the preset"},
		{"schedule=10", "--set schedule=10: schedule = \"10\": not a schedule; write modular + fine-tuning epochs, such as \"200+100\""},
		{"schedule=10+0", "--set schedule=10+0: schedule = \"10+0\": not a schedule; write modular + fine-tuning epochs, such as \"200+100\""},
		{"train.epochs=1", "--set train.epochs=1: train.epochs: has no effect: every stage sets its own epochs (" + place("quickstart", "meta", "epochs") + ": meta.epochs); " +
			"set it for the stages: meta.epochs, modular.epochs, finetune.epochs, e2e.epochs, highres.epochs"},
	} {
		if _, err := Load("quickstart", []string{c.set}); err == nil {
			t.Errorf("%s: no error", c.set)
		} else if err.Error() != c.want {
			t.Errorf("got  %s\nwant %s", err, c.want)
		}
	}
	_, err := Load("quickstart", []string{"schedule=10+5", "modular.epochs=10", "finetune.epochs=6"})
	const want = "--set finetune.epochs=6: finetune.epochs = 6: contradicts schedule = \"10+5\" (--set schedule=10+5); keep one of the two"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestFlags(t *testing.T) {
	c := mustLoad(t, "quickstart", "modules.k=8", " train.lr = 2e-3", "finetune.lr=1", "data.root=/1", "data.name=\"a b\"",
		"run.methods=e2e,assembling", "modules.split=1,1,1,1,1,1,1,1", "schedule=10+5", "run.threads=2", "run.threads=3",
		"meta.betas=[0.8, 0.9]", "title=say \"what # you\" want")
	for _, x := range []struct {
		key       string
		got, want any
	}{
		{"modules.k", c.Modules.K, 8},
		{"meta.lr", c.Meta.LR, 2e-3},
		{"e2e.lr", c.E2E.LR, 2e-3},
		{"finetune.lr", c.Finetune.LR, 1.0},
		{"data.root", c.Data.Root, "/1"},
		{"data.name", c.Data.Name, "a b"},
		{"run.methods", c.Run.Methods, []string{"e2e", "assembling"}},
		{"modules.split", c.Modules.Split, []int{1, 1, 1, 1, 1, 1, 1, 1}},
		{"modular.epochs", c.Modular.Epochs, 10},
		{"finetune.epochs", c.Finetune.Epochs, 5},
		{"schedule", c.Schedule, "10+5"},
		{"run.threads", c.Run.Threads, 3},
		{"meta.betas", c.Meta.Betas, []float64{0.8, 0.9}},
		{"title", c.Title, `say "what # you" want`},
	} {
		if !reflect.DeepEqual(x.got, x.want) {
			t.Errorf("%s = %v, want %v", x.key, x.got, x.want)
		}
	}
}

func TestMissingFilesAndPresets(t *testing.T) {
	dir := t.TempDir()
	presets := strings.Join(names(), ", ")
	for _, c := range []struct{ ref, want string }{
		{"fashion-deap", "no preset \"fashion-deap\"; did you mean fashion-deep? (a file's path ends in .toml)"},
		{"", "no preset \"\"; the presets are " + presets + " (a file's path ends in .toml)"},
		{filepath.Join(dir, "quickstart.toml"), "no file " + filepath.Join(dir, "quickstart.toml") + "; the preset is called quickstart"},
		{filepath.Join(dir, "x.toml"), "no file " + filepath.Join(dir, "x.toml")},
		{"x.toml", "no file x.toml; the presets are " + presets},
		{dir + "/", "reading the preset: read " + dir + "/: is a directory"},
	} {
		if _, err := Load(c.ref, nil); err == nil || err.Error() != c.want {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
	}
	big := write(t, map[string]string{"big.toml": strings.Repeat("# \n", maxFile/3+1)})
	if _, err := Load(filepath.Join(big, "big.toml"), nil); err == nil || !strings.Contains(err.Error(), "larger than 1024 kB") {
		t.Errorf("a file of a megabyte: %v", err)
	}
}

func TestExtends(t *testing.T) {
	dir := write(t, map[string]string{
		"a.toml": `
			extends  = "quickstart"
			title    = "a"
			notes    = "of a"
			schedule = "20+10"
			[model]
			depth = 12
			[modules]
			k     = 3
			split = [2, 4, 6]
			[finetune]
			warmup_epochs = 0
			lr = 5e-4
			[[paper]]
			source = "a"
			metric = "top1"
			value  = 1
			[[paper]]
			source = "b"
			metric = "top1"
			value  = 2`,
		"sub/b.toml": `
			extends = "../a.toml"
			[modules]
			split = [4, 4, 4]
			[train]
			warmup_epochs = 7
			lr = 2e-3
			[modular]
			epochs = 30`,
		"sub/c.toml": `
			extends  = "b.toml"
			schedule = "5+6"
			paper    = []`,
	})
	b := mustLoad(t, filepath.Join(dir, "sub", "b.toml"))
	for _, x := range []struct {
		what      string
		got, want any
	}{
		{"name of the file", b.Name, "b"},
		{"title is not inherited", b.Title, ""},
		{"notes are not inherited", b.Notes, ""},
		{"grandparent's key", b.Model.Width, 64},
		{"parent's key of a table that the child has too", b.Modules.K, 3},
		{"arrays replace arrays", b.Modules.Split, []int{4, 4, 4}},
		{"paper inherited", len(b.Paper), 2},
		{"[train] of the child reaches a stage", b.Modular.WarmupEpochs, 7},
		{"a parent's stage key outlives the child's [train]", b.Finetune.WarmupEpochs, 0},
		{"a grandparent's stage key as well", b.E2E.WarmupEpochs, 1},
		{"and lr", b.Finetune.LR, 5e-4},
		{"[train] lr", b.E2E.LR, 2e-3},
		{"child's epochs beat the parent's schedule", b.Modular.Epochs, 30},
		{"the other half of that schedule stays", b.Finetune.Epochs, 10},
		{"schedule is updated", b.Schedule, "30+10"},
	} {
		if !reflect.DeepEqual(x.got, x.want) {
			t.Errorf("%s: %v, want %v", x.what, x.got, x.want)
		}
	}
	c := mustLoad(t, filepath.Join(dir, "sub", "c.toml"))
	if c.Modular.Epochs != 5 || c.Finetune.Epochs != 6 || c.Schedule != "5+6" {
		t.Errorf("a child's schedule must beat the parent's epochs: %d and %d, %s", c.Modular.Epochs, c.Finetune.Epochs, c.Schedule)
	}
	if len(c.Paper) != 0 {
		t.Errorf("paper = [] leaves %d results", len(c.Paper))
	}
}

func TestExtendsCycle(t *testing.T) {
	dir := write(t, map[string]string{
		"a.toml":   "extends = \"b.toml\"\n",
		"b.toml":   "\nextends = \"s/c.toml\"\n",
		"s/c.toml": "extends = \"../b.toml\"\n",
	})
	_, err := Load(filepath.Join(dir, "a.toml"), nil)
	const want = "s/c.toml:1: extends = \"../b.toml\" forms a cycle: b.toml -> s/c.toml -> b.toml; remove extends from one of them"
	if err == nil || strings.ReplaceAll(err.Error(), dir+"/", "") != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// A mistake in a parent is reported with the parent's line.
func TestBadParent(t *testing.T) {
	dir := write(t, map[string]string{
		"a.toml": "extends = \"b.toml\"\n",
		"b.toml": "extends = \"quickstart\"\n[run]\nthread = 2\n",
	})
	_, err := Load(filepath.Join(dir, "a.toml"), nil)
	const want = "b.toml:3: run.thread: unknown key; did you mean run.threads?"
	if err == nil || strings.ReplaceAll(err.Error(), dir+"/", "") != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// Any file gives a Config that can be checked, written and read again, or an error that
// names a line.
func FuzzLoad(f *testing.F) {
	for _, name := range names() {
		src, err := Source(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
		if slices.Contains(loadable(), name) {
			f.Add(string(mustLoadF(f, name).TOML()))
		}
	}
	f.Add("extends = \"quickstart\"\nmodel = { width = 3 }\nmodules.\"k\" = 2\n[[paper]]\n[paper.a]\n")
	f.Add("title = \"\"\"a\"\"\"\"\"\nnotes = '''#'''\nx = [[1, 2], [{ a = 1 }]]\n")
	f.Fuzz(func(t *testing.T, src string) {
		l, err := parseFile("fuzz.toml", src)
		if err != nil {
			if ps, ok := errors.AsType[Problems](err); ok {
				for _, p := range ps {
					if p.Where == "fuzz.toml:0" {
						t.Errorf("no line for %s", p)
					}
				}
			}
			return
		}
		chain, err := readChain("quickstart")
		if err != nil {
			t.Fatal(err)
		}
		c, err := resolve(append(chain, file{id: "fuzz", shown: "fuzz.toml", name: "fuzz", layer: l}), nil)
		if err != nil {
			return
		}
		_ = c.Validate(DataInfo{})
		again, err := parseFile("again.toml", string(c.TOML()))
		if err != nil {
			t.Fatalf("%v\n%s", err, c.TOML())
		}
		c2, err := resolve([]file{{layer: again}}, nil) // no parent: the canonical form is complete
		if err != nil {
			t.Fatalf("%v\n%s", err, c.TOML())
		}
		if a, b := string(c.TOML()), string(c2.TOML()); a != b {
			t.Errorf("written:\n%s\nand again:\n%s", a, b)
		}
	})
}

func mustLoadF(f *testing.F, ref string) *Config {
	c, err := Load(ref, nil)
	if err != nil {
		f.Fatal(err)
	}
	return c
}

// place returns the position of a key in an embedded preset: "presets/deit.toml:7".
func place(preset, table, key string) string {
	src, err := Source(preset)
	if err != nil {
		panic(err)
	}
	within := false
	for i, line := range strings.Split(src, "\n") {
		if strings.HasPrefix(line, "[") {
			within = strings.HasPrefix(line, "["+table+"]")
		}
		if name, _, ok := strings.Cut(line, "="); ok && within && strings.TrimSpace(name) == key {
			return fmt.Sprintf("presets/%s.toml:%d", preset, i+1)
		}
	}
	panic("no " + table + "." + key + " in " + preset)
}

// Changing one configuration does not change the next.
func TestLoadedConfigsShareNothing(t *testing.T) {
	a := mustLoad(t, "quickstart")
	a.Meta.Betas[0] = 0.5
	a.Run.Methods[0] = "imitation"
	if b := mustLoad(t, "quickstart"); b.Meta.Betas[0] == 0.5 || b.Modular.Betas[0] == 0.5 || b.Run.Methods[0] == "imitation" {
		t.Errorf("betas %v, %v, methods %v", b.Meta.Betas, b.Modular.Betas, b.Run.Methods)
	}
	if a.Modular.Betas[0] == 0.5 {
		t.Error("two stages share their betas")
	}
}

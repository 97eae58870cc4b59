package pages

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"

	"hatchery/engine/pipeline"
	"hatchery/engine/runs"
	"hatchery/presets"
	"hatchery/tui/charts"
	"hatchery/tui/theme"
	"hatchery/tui/watch"
)

// TestWordsElsewhere checks that wordsElsewhere has exactly the settings whose words package
// presets does not know.
func TestWordsElsewhere(t *testing.T) {
	listed := 0
	for _, f := range fields {
		if f.ExternalWords != (wordsElsewhere[f.Key] != nil) {
			t.Errorf("%s: words elsewhere: %v", f.Key, f.ExternalWords)
		}
		if f.ExternalWords {
			listed++
		}
	}
	if listed != len(wordsElsewhere) {
		t.Errorf("%d settings for %d lists of words", listed, len(wordsElsewhere))
	}
}

// TestFieldsReadBack checks that typing the shown value of a field changes nothing.
func TestFieldsReadBack(t *testing.T) {
	for _, name := range []string{"quickstart", "table2-deit-t-32"} {
		c, err := presets.Load(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		x := experiment{base: name}
		for _, f := range fields {
			if f.Key == "schedule" { // it is the same setting as the epochs of two stages
				continue
			}
			x = x.with(f.Key, f.Literal(f.Text(c)))
		}
		again, err := x.load()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d := presets.Diff(c, again); len(d) > 0 {
			t.Errorf("%s: changed: %v", name, d)
		}
	}
}

func TestFieldLiteral(t *testing.T) {
	byKey := map[string]presets.Setting{}
	for _, f := range fields {
		byKey[f.Key] = f
	}
	for _, c := range []struct{ key, typed, want string }{
		{"modules.k", " 8 ", "8"}, {"modules.k", "x", "x"}, {"modules.split", "4, 4", "[4, 4]"}, {"modules.split", "[]", "[]"},
		{"data.name", "cifar-100", `"cifar-100"`}, {"data.name", `"cifar-100"`, `"cifar-100"`}, {"meta.lr", "1e-3", "0.001"},
		{"meta.lr", "1", "1"}, {"meta.lr", ".5", "0.5"}, {"meta.lr", "1e30", "1e+30"}, {"model.qkv_bias", "true", "true"},
	} {
		if got := byKey[c.key].Literal(c.typed); got != c.want {
			t.Errorf("%s: %q becomes %s, want %s", c.key, c.typed, got, c.want)
		}
	}
	for _, c := range []struct {
		key, from string
		by        int
		want      string
	}{
		{"modules.k", "4", 1, "5"}, {"modules.k", "0", -1, ""}, {"run.equal", "cost", 1, "epochs"}, {"model.qkv_bias", "true", -1, "false"},
		{"meta.lr", "0.1", 1, ""},
	} {
		got, ok := valueAfter(byKey[c.key], c.from, c.by)
		if ok != (c.want != "") || ok && got != c.want {
			t.Errorf("%s: after %s comes %q, %v, want %q", c.key, c.from, got, ok, c.want)
		}
	}
}

func TestSave(t *testing.T) {
	t.Chdir(t.TempDir())
	x := experiment{base: "quickstart"}.with("modules.k", "2").with("data.train", "1000")
	if err := x.save("mine", "quickstart with changes"); err != nil {
		t.Fatal(err)
	}
	want, err := x.load()
	if err != nil {
		t.Fatal(err)
	}
	got, err := presets.Load("mine.toml", nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := presets.Diff(want, got); len(d) > 0 || got.Modules.K != 2 {
		t.Errorf("saved and read: K = %d, differs in %v", got.Modules.K, d)
	}
	if err := x.save("mine.toml", ""); err == nil || !strings.Contains(err.Error(), "another name") {
		t.Errorf("over a file: %v, want that it is refused", err)
	}
	// A file can extend a file in another folder.
	if err := os.Mkdir("below", 0o755); err != nil {
		t.Fatal(err)
	}
	second := experiment{base: "mine.toml"}.with("seed", "7")
	if err := second.save(filepath.Join("below", "second.toml"), "two steps away"); err != nil {
		t.Fatal(err)
	}
	// An experiment that cannot be loaded leaves no file.
	if err := (experiment{base: "quickstart"}.with("modules.k", `"two"`)).save("wrong.toml", ""); err == nil {
		t.Error("an experiment that cannot be read was saved")
	}
	if files, _ := filepath.Glob("*"); len(files) != 2 {
		t.Errorf("left behind: %v", files)
	}
	// A path does not depend on the folder of the file.
	withPath := experiment{base: "quickstart"}.with("data.root", `"pictures"`)
	if err := withPath.save(filepath.Join("below", "path.toml"), "\x1b \u202e"); err != nil {
		t.Fatal(err)
	}
	if want, err = withPath.load(); err != nil {
		t.Fatal(err)
	}
	if got, err = presets.Load(filepath.Join("below", "path.toml"), nil); err != nil {
		t.Fatal(err)
	}
	if root, _ := filepath.Abs("pictures"); want.Data.Root != root || got.Data.Root != root || got.Title != "\x1b \u202e" {
		t.Errorf("root %q, saved and read %q; title %q", want.Data.Root, got.Data.Root, got.Title)
	}
	t.Setenv("HOME", t.TempDir())
	if err := x.save("~/mine", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := presets.Load("~/mine.toml", nil); err != nil {
		t.Error(err)
	}
}

// TestEstimatePlansOnce checks that the check gets the plan that is shown.
func TestEstimatePlansOnce(t *testing.T) {
	c, err := presets.Load("quickstart", nil)
	if err != nil {
		t.Fatal(err)
	}
	var checked []pipeline.Estimate
	k := estimate(t.Context(), c, func(stages []pipeline.Estimate) error {
		checked = stages
		return errors.New("no room")
	})
	if k.err != nil || len(k.stages) == 0 || len(checked) != len(k.stages) || &checked[0] != &k.stages[0] {
		t.Errorf("%d stages are checked, %d are shown, %v", len(checked), len(k.stages), k.err)
	}
	if len(k.problems) != 1 || k.problems[0].Reason != "no room" {
		t.Errorf("wrong: %v", k.problems)
	}
}

func TestChartMove(t *testing.T) {
	stops := []float64{1, 2, 4}
	var c chart
	for i, step := range []struct {
		by   int
		want float64
	}{{-1, 4}, {-1, 2}, {-1, 1}, {-1, 1}, {1, 2}, {1, 4}, {1, 4}} {
		if c.move(stops, step.by); *c.cursor != step.want {
			t.Fatalf("step %d brings the cursor to %g, want %g", i, *c.cursor, step.want)
		}
	}
	if c.move(nil, 1); *c.cursor != 4 {
		t.Error("moved without stops")
	}
}

func TestChartZoom(t *testing.T) {
	series := []charts.Series{{Points: []charts.Point{{X: 0, Y: 1}, {X: 100, Y: 2}}}}
	at := 10.0
	for _, c := range []struct {
		plot     chart
		from, to float64
	}{
		{chart{}, 0, 0}, {chart{zoom: 1}, 50, 100}, {chart{zoom: 2}, 75, 100}, {chart{zoom: 1, cursor: &at}, 0, 50},
	} {
		o := c.plot.options(theme.New(theme.Options{}), series, 80, 20, -1)
		if o.From != c.from || o.To != c.to {
			t.Errorf("zoom %d: %g to %g, want %g to %g", c.plot.zoom, o.From, o.To, c.from, c.to)
		}
	}
}

// comparison returns a comparison of three runs, of which the last has not started.
func comparison(t *testing.T) *Compare {
	p := NewCompare(&Env{Theme: theme.New(theme.Options{})}, []string{"runs/a", "runs/b", "runs/c"})
	for i, sets := range [][]string{nil, {"modules.k=2"}, nil} {
		c, err := presets.Load("quickstart", sets)
		if err != nil {
			t.Fatal(err)
		}
		p.runs[i].config = c
		if i < 2 {
			p.runs[i].snap = watch.Snapshot{State: runs.Fold([]runs.Event{
				{Kind: runs.StageStart, Stage: "finetune"},
				{Kind: runs.Eval, Stage: "finetune", Epoch: 1, Values: runs.Values{runs.Top1: 80 + 2*float64(i), runs.EvalLoss: math.NaN()}},
			})}
		}
	}
	return p
}

func TestCompareLines(t *testing.T) {
	p := comparison(t)
	var got []string
	for _, l := range append(p.settings(), p.results()...) {
		got = append(got, fmt.Sprintf("%s: %s", l.name, strings.Join(l.values, " | ")))
	}
	want := []string{"modules.k: 4 | 2 | 4", "finetune best top-1, %: 80.00 | 82.00 (+2) | ", "finetune last top-1, %: 80.00 | 82.00 (+2) | "}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestExport(t *testing.T) {
	p := comparison(t)
	rows, err := csv.NewReader(strings.NewReader(string(p.csv()))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(rows), "[[name a b c] [modules.k 4 2 4] [finetune best top-1, % 80 82 ] [finetune last top-1, % 80 82 ]]"; got != want {
		t.Errorf("CSV %s, want %s", got, want)
	}
	data, err := p.json()
	if err != nil {
		t.Fatal(err)
	}
	var all []struct {
		Run      string
		Settings map[string]string
		Results  map[string]float64
	}
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	if all[1].Run != "b" || all[1].Settings["modules.k"] != "2" || all[1].Results["finetune last top-1, %"] != 82 || len(all[2].Results) != 0 {
		t.Errorf("JSON %s", data)
	}

	t.Chdir(t.TempDir())
	for _, want := range []string{"wrote compare.csv", "wrote compare-2.csv"} {
		if f := p.export("compare.csv")().(Flash); f.Text != want {
			t.Errorf("%s, want %s", f.Text, want)
		}
	}
}

// TestClean checks that a log cannot control the terminal.
func TestClean(t *testing.T) {
	for line, want := range map[string]string{
		"plain": "plain", "\x1b[31mred\x1b[0m": "red", "tab\there": "tab here", "10%\r50%\r90%": "90%", "line\r": "line",
		"bell\a\x1b]0;title\abs\b": `bell\x07bs\x08`, "\u009b31m": `\u009b31m`, "\u202egpj": `\u202egpj`,
	} {
		if got := clean(line); got != want {
			t.Errorf("%q becomes %q, want %q", line, got, want)
		}
	}
}

func TestSplitDiagram(t *testing.T) {
	th := theme.New(theme.Options{ASCII: true})
	c := &presets.Config{}
	c.Model.Depth, c.Modules.K, c.Modules.MetaDepth, c.Modules.Split = 6, 2, 2, []int{1, 5}
	lines := splitDiagram(th, c, 40)
	for i, want := range []string{"6 blocks in 2 modules, meta model of 4 blocks", "target |1 |22222|", "meta   |mm|mm   |"} {
		if got := ansi.Strip(lines[i]); got != want {
			t.Errorf("line %d is %q, want %q", i, got, want)
		}
	}
	c.Modules.Split = []int{1, 6}
	if got := ansi.Strip(splitDiagram(th, c, 40)[0]); got != "no valid split" {
		t.Errorf("of a split that does not add up: %q", got)
	}
}

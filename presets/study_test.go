package presets

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestStudies(t *testing.T) {
	all, err := Studies()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("%d studies", len(all))
	}
	for _, s := range all {
		for i, g := range s.grids() {
			for _, c := range g.Cells(nil) {
				config, err := Load(c.Preset, c.Set)
				if err != nil {
					t.Fatalf("%s, cell %s: %v", s.Name, c.ID(), err)
				}
				if err := config.Validate(DataInfo{}); err != nil {
					t.Errorf("%s, cell %s: %v", s.Name, c.ID(), err)
				}
				if i == 1 && config.Data.Name != "fashion-mnist-5k" {
					t.Errorf("%s, small: %s needs the data set %s", s.Name, c.ID(), config.Data.Name)
				}
				config.Scale(0.001)
				if err := config.Validate(DataInfo{}); err != nil {
					t.Errorf("%s, cell %s, scaled: %v", s.Name, c.ID(), err)
				}
			}
		}
	}
}

// The table of K as the paper prints it, typed a second time.
func TestStudyValues(t *testing.T) {
	s, err := LoadStudy("k")
	if err != nil {
		t.Fatal(err)
	}
	const table = `
DeiT-T-32	2	72.3
DeiT-T-32	4	76.1
DeiT-T-32	8	75.6
DeiT-T-32	16	75.6
DeiT-T-32 e2e		72.8
DeiT-T-256	2	70.9
DeiT-T-256	4	76.7
DeiT-T-256	8	77.2
DeiT-T-256	16	75.0
DeiT-T-256 e2e		66.9
`
	var got strings.Builder
	got.WriteString("\n")
	for _, v := range s.Paper {
		got.WriteString(strings.Join([]string{v.Series, v.Point, fmt.Sprintf("%.1f", v.Value)}, "\t") + "\n")
	}
	if got.String() != table {
		t.Errorf("the paper's table is\n%s\nthe study has\n%s", table, got.String())
	}
}

func TestStudyProblems(t *testing.T) {
	const good = "title = 'T'\npreset = 'quickstart'\n[[series]]\nname = 'a'\nmethod = 'assembling'\nkey = 'modules.k'\nvalues = [1, 2]\n"
	for _, test := range []struct{ change, to, want string }{
		{"title", "titel", `study.toml:1: titel: unknown key`},
		{"preset = 'quickstart'", "", "preset: missing"},
		{"preset = 'quickstart'", "preset = 'quickstart'\nmeasure = 'speed'", `study.toml:3: measure: unknown measure "speed"`},
		{"preset = 'quickstart'", "preset = 'quickstart'\nagainst = 'epoch'", `top1 cannot be plotted against "epoch"`},
		{"values = [1, 2]", "", "give either key and values, or points"},
		{"values = [1, 2]", "values = [1, 1]", "two points would be called a-1"},
		{"values = [1, 2]", "values = [1, [2]]", "value 2 is an array"},
		{"values = [1, 2]", "values = [1, 2]\nat = [1]", "at has 1 numbers for 2 values"},
		{"values = [1, 2]", "values = [1, 2]\n[[paper]]\nsource = 'x'\nseries = 'a'\npoint = '3'\nvalue = 1.0", `no point "3" in a series "a"`},
		{"values = [1, 2]", "values = [1,", "study.toml:"},
	} {
		path := filepath.Join(t.TempDir(), "study.toml")
		if err := os.WriteFile(path, []byte(strings.Replace(good, test.change, test.to, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadStudy(path); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q for %q: %v, want %s", test.to, test.change, err, test.want)
		}
	}
	if _, err := LoadStudy("fig88"); err == nil || !strings.Contains(err.Error(), "did you mean fig8?") {
		t.Errorf("%v", err)
	}
}

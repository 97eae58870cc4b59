package presets

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// reload writes a Config as a run folder does and loads it again.
func reload(t *testing.T, c *Config) *Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, c.TOML(), 0o644); err != nil {
		t.Fatal(err)
	}
	return mustLoad(t, path)
}

// same compares everything but the lines. Nil and empty lists are equal.
func same(a, b *Config) bool {
	x, y := *a, *b
	for _, c := range []*Config{&x, &y} {
		c.origins = nil
		v := reflect.ValueOf(c).Elem()
		for _, f := range settings {
			if f.index != nil && v.FieldByIndex(f.index).Kind() == reflect.Slice && v.FieldByIndex(f.index).Len() == 0 {
				v.FieldByIndex(f.index).SetZero()
			}
		}
	}
	return reflect.DeepEqual(x, y)
}

func TestRoundTrip(t *testing.T) {
	for _, name := range loadable() {
		c := mustLoad(t, name)
		again := reload(t, c)
		if !same(c, again) {
			t.Errorf("%s comes back as\n%s", name, again.TOML())
		}
		if d := Diff(c, again); d != nil {
			t.Errorf("%s comes back different: %v", name, d)
		}
	}
	// Values that are hard to write.
	c := mustLoad(t, "quickstart", "seed=9223372036854775807", "train.lr=1.2345678901234567e-300", "modules.split=1,1,1,5", "run.methods=[]")
	c.Notes = "line\n\"\"\"quotes\\ and 'single'\t\x01 é # = [x]\r\n"
	c.Title = ""
	c.Paper = []PaperValue{{"a\nb", "", "top1", 1}, {"c", "e2e", "top1", -0.1}}
	if again := reload(t, c); !same(c, again) {
		t.Errorf("comes back as\n%s", again.TOML())
	}
}

// Empty lists must not turn into those of the base preset.
func TestRoundTripOfNilLists(t *testing.T) {
	c := *mustLoad(t, "table1-vit-b")
	c.Augment.ResizedCrop, c.Run.Methods, c.Paper = nil, nil, nil
	if again := reload(t, &c); !same(&c, again) {
		t.Errorf("comes back as\n%s", again.TOML())
	}
}

// Diff reports a change in any field of Config.
func TestDiffSeesEveryKey(t *testing.T) {
	for _, f := range settings {
		if f.index == nil {
			continue
		}
		a := *mustLoad(t, "quickstart")
		b := a
		v := reflect.ValueOf(&b).Elem().FieldByIndex(f.index)
		switch v.Kind() {
		case reflect.Int:
			v.SetInt(v.Int() + 1)
		case reflect.Uint64:
			v.SetUint(v.Uint() + 1)
		case reflect.Float64:
			v.SetFloat(v.Float() + 1)
		case reflect.Bool:
			v.SetBool(!v.Bool())
		case reflect.String:
			v.SetString(v.String() + "x")
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), v.Len()+1, v.Len()+1))
		}
		d := Diff(&a, &b)
		switch f.Key {
		case "name", "title", "notes", "missing", "schedule", "paper": // change no run
			if d != nil {
				t.Errorf("%s: %v", f.Key, d)
			}
		default:
			if len(d) != 1 || d[0].Key != f.Key {
				t.Errorf("%s: %v", f.Key, d)
			}
		}
	}
}

func TestDiff(t *testing.T) {
	got := Diff(mustLoad(t, "quickstart", "schedule=4+4", "finetune.lr=1e-3"), mustLoad(t, "quickstart", "modules.split=[1,2,2,3]", "schedule=5+4", "data.root=/d", "finetune.lr=5e-4"))
	want := []Change{
		{"modules.split", "[]", "[1, 2, 2, 3]"},
		{"data.root", `""`, `"/d"`},
		{"modular.epochs", "4", "5"},
		{"finetune.lr", "0.001", "0.0005"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

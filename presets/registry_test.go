package presets

import (
	"reflect"
	"strings"
	"testing"
)

// Every field of Config has an entry, and every entry a field.
func TestEveryFieldHasAnEntry(t *testing.T) {
	entries := 0
	for _, g := range new(Config).groups() {
		if g.title == "" {
			t.Errorf("[%s] has no title", g.table)
		}
		entries += len(g.settings)
	}
	fields := 0
	for _, s := range settings {
		if s.index != nil {
			fields++
		}
		if s.Help == "" || s.Group == "" {
			t.Errorf("%s has no entry", s.Key)
		}
		if table, _ := strings.CutSuffix(s.Key, "."+s.Key[strings.LastIndexByte(s.Key, '.')+1:]); s.Table != "" && s.Table != table {
			t.Errorf("%s has its entry in [%s]", s.Key, s.Table)
		}
	}
	if entries != fields {
		t.Errorf("%d entries for %d fields", entries, fields)
	}
}

// The parts of an entry suit the type of its field.
func TestEntriesSuitTheirFields(t *testing.T) {
	base, err := readChain(base)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range settings {
		kind, element := s.typ.Kind(), s.typ
		if kind == reflect.Slice {
			element = s.typ.Elem()
		}
		number := element.Kind() == reflect.Int || element.Kind() == reflect.Uint64 || element.Kind() == reflect.Float64
		if s.Limits.bounded && !number {
			t.Errorf("%s has limits and is %s", s.Key, expected(s.typ))
		}
		if number && !s.Limits.bounded && s.Rule == nil {
			t.Errorf("%s has no limits", s.Key)
		}
		if s.Len > 0 && kind != reflect.Slice {
			t.Errorf("%s has a length and is %s", s.Key, expected(s.typ))
		}
		if s.Words != nil && kind != reflect.String && kind != reflect.Bool {
			t.Errorf("%s has words and is %s", s.Key, expected(s.typ))
		}
		if s.Legacy != nil && reflect.TypeOf(s.Legacy) != s.typ {
			t.Errorf("%s is %s, and %T in older files", s.Key, expected(s.typ), s.Legacy)
		}
		if s.Path && kind != reflect.String {
			t.Errorf("%s is a path and %s", s.Key, expected(s.typ))
		}
		if s.Rule != nil { // it takes values of the type
			_ = s.Rule(reflect.New(s.typ).Elem().Interface())
		}
		if strings.HasSuffix(s.Help, ".") {
			t.Errorf("%s: the help ends in a period", s.Key)
		}
		for _, table := range s.Stages {
			if !reflect.DeepEqual(s.Stages, []string{table}) || !isTable(table) {
				t.Errorf("%s concerns %v", s.Key, s.Stages)
			}
		}
		if given, ok := base[0].layer[s.Key]; ok && !s.PerFile {
			if reason, _ := s.violation(given.value.Interface()); reason != "" {
				t.Errorf("the default of %s: %s", s.Key, reason)
			}
		}
	}
}

// The effects decide whether a stage of an older run can be used, so they must not change
// unnoticed.
func TestEffects(t *testing.T) {
	want := map[string]Effect{"train.micro_batch": EffectRounding, "train.eval_every": EffectCurves, "run.together": EffectRounding, "run.equal": EffectResult,
		"data.root": EffectNone, "data.skip_corrupt": EffectNone}
	for _, s := range settings {
		key := s.Key
		if s.Shared != "" {
			key = s.Shared
		}
		effect, ok := want[key]
		table, _, _ := strings.Cut(key, ".")
		if !ok && (table == "run" || table == "launch" || s.NotIdentity && s.Key != "schedule") {
			effect = EffectNone
		}
		if s.Effect != effect {
			t.Errorf("%s %v, want %v", s.Key, s.Effect, effect)
		}
	}
	for _, c := range []struct {
		key, table string
		want       Effect
	}{
		{"meta.lr", "meta", EffectResult}, {"meta.lr", "e2e", EffectNone}, {"run.together", "modular", EffectRounding}, {"run.together", "meta", EffectNone},
		{"run.equal", "e2e", EffectResult}, {"run.equal", "highres", EffectNone}, {"data.partition", "modular", EffectResult}, {"data.partition", "e2e", EffectNone},
		{"seed", "meta", EffectResult}, {"data.root", "meta", EffectNone}, {"highres.image", "highres", EffectResult},
	} {
		if s, ok := Lookup(c.key); !ok || s.EffectOn(c.table) != c.want {
			t.Errorf("%s: on [%s] it %v, want that it %v", c.key, c.table, s.EffectOn(c.table), c.want)
		}
	}
}

func TestSharedKeys(t *testing.T) {
	if got := strings.Join(RecipeTables(), " "); got != "meta modular finetune e2e highres" {
		t.Errorf("tables of recipes: %s", got)
	}
	for key, want := range map[string]string{"e2e.lr": "train.lr", "highres.lr": "train.lr", "highres.image": "", "model.depth": "", "train.lr": "", "seed": ""} {
		if s, ok := Lookup(key); !ok || s.Shared != want {
			t.Errorf("%s: %v, shared as %q, want %q", key, ok, s.Shared, want)
		}
	}
	if _, ok := Lookup("train.image"); ok {
		t.Error("[train] has the image size of [highres]")
	}
}

func TestLimits(t *testing.T) {
	for _, c := range []struct {
		limits Limits
		text   string
		bad    map[float64]string
		good   []float64
	}{
		{Limits{}, "", nil, []float64{-1, 0, 1e300}},
		{from(1), "1 and up", map[float64]string{0: "must be at least 1"}, []float64{1, 1e9}},
		{above(0), "above 0", map[float64]string{0: "must be above 0", -1: "must be above 0"}, []float64{1e-300}},
		{from(0).upTo(1), "0 to 1", map[float64]string{1.5: "must be from 0 to 1"}, []float64{0, 1}},
		{from(0).below(1).or(0, "off"), "0 (off) to below 1", map[float64]string{1: "must be from 0 to below 1"}, []float64{0, 0.99}},
		{above(0).upTo(1).or(1, "all"), "above 0 to 1 (all)", map[float64]string{0: "must be above 0 and at most 1"}, []float64{1}},
		{above(0).below(1), "above 0 to below 1", map[float64]string{1: "must be above 0 and below 1"}, []float64{0.5}},
		{from(2).or(0, "the batch"), "2 and up, or 0 (the batch)", map[float64]string{1: "must be at least 2, or 0"}, []float64{0, 2}},
		{from(1).upToThe("depth").atMost(1024), "1 to depth", map[float64]string{0: "must be at least 1", 1025: "is too large; give at most 1024"}, []float64{1024}},
		{from(0).belowThe("epochs"), "0 to below epochs", map[float64]string{-1: "must be at least 0"}, []float64{0, 1e9}},
	} {
		if got := c.limits.String(); got != c.text {
			t.Errorf("%+v is %q, want %q", c.limits, got, c.text)
		}
		for x, want := range c.bad {
			if got := c.limits.violation(x); got != want {
				t.Errorf("%s: %g %s, want that it %s", c.text, x, got, want)
			}
		}
		for _, x := range c.good {
			if got := c.limits.violation(x); got != "" {
				t.Errorf("%s: %g %s", c.text, x, got)
			}
		}
	}
}

// Problem gives other packages the position and the value of a key that they check.
func TestProblem(t *testing.T) {
	c := mustLoad(t, "quickstart", "run.methods=e2e,e3e", "train.lr=2")
	for _, x := range []struct{ key, want string }{
		{"run.methods", `--set run.methods=e2e,e3e: run.methods = ["e2e", "e3e"]: r; did you mean "e2e"?`},
		{"meta.lr", `--set train.lr=2: train.lr = 2: r; did you mean "e2e"?`},
		{"run.device", place("deit", "run", "device") + `: run.device = "auto": r; did you mean "e2e"?`},
	} {
		if got := c.Problem(x.key, "r", Suggest("e3e", []string{"assembling", "e2e"})).String(); got != x.want {
			t.Errorf("got  %s\nwant %s", got, x.want)
		}
	}
}

package method

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"hatchery/engine/runs"
	"hatchery/presets"
)

func config(t *testing.T, sets ...string) *presets.Config {
	t.Helper()
	c, err := presets.Load("quickstart", append([]string{"modules.k=2", "modules.split=[]", "meta.batch=10", "modular.batch=20", "finetune.batch=30", "e2e.batch=40", "highres.batch=50"}, sets...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestStages checks the stages of the methods of the paper.
func TestStages(t *testing.T) {
	c := config(t, "run.methods=assembling,imitation,e2e", "run.equal=cost", "highres.image=56")
	var got []string
	for _, s := range Stages(c) {
		i := s.Describe(c)
		got = append(got, fmt.Sprintf("%s: %s, recipe %q, batch %d, phase %q, owner %s, %d px, module %d of %q inside %q, target %v, of %v, needs %v, after %v",
			s.Name, i.Kind, i.Recipe, i.Batch, s.Phase, s.Owner, s.Image, i.Module, i.Group, i.Inside, i.Target, s.Methods, s.Needs, s.After))
	}
	want := []string{
		`meta: meta, recipe "meta", batch 10, phase "meta", owner meta, 28 px, module 0 of "" inside "", target false, of [assembling imitation], needs [], after []`,
		`module-1: incubate, recipe "modular", batch 20, phase "modular", owner target, 28 px, module 1 of "module" inside "meta", target false, of [assembling], needs [meta], after []`,
		`module-2: incubate, recipe "modular", batch 20, phase "modular", owner target, 28 px, module 2 of "module" inside "meta", target false, of [assembling], needs [meta], after []`,
		`assemble: assemble, recipe "", batch 0, phase "", owner target, 28 px, module 0 of "" inside "", target true, of [assembling], needs [module-1 module-2], after []`,
		`finetune: finetune, recipe "finetune", batch 30, phase "finetune", owner target, 28 px, module 0 of "" inside "", target true, of [assembling], needs [assemble], after []`,
		`finetune-56: highres, recipe "highres", batch 50, phase "highres", owner target, 56 px, module 0 of "" inside "", target true, of [assembling], needs [finetune], after []`,
		`imitation-1: imitate, recipe "modular", batch 20, phase "modular", owner target, 28 px, module 1 of "imitation" inside "meta", target false, of [imitation], needs [meta], after []`,
		`imitation-2: imitate, recipe "modular", batch 20, phase "modular", owner target, 28 px, module 2 of "imitation" inside "meta", target false, of [imitation], needs [meta], after []`,
		`assemble-imitation: assemble, recipe "", batch 0, phase "", owner target, 28 px, module 0 of "" inside "", target true, of [imitation], needs [imitation-1 imitation-2], after []`,
		`finetune-imitation: finetune, recipe "finetune", batch 30, phase "finetune", owner target, 28 px, module 0 of "" inside "", target true, of [imitation], needs [assemble-imitation], after []`,
		`finetune-imitation-56: highres, recipe "highres", batch 50, phase "highres", owner target, 56 px, module 0 of "" inside "", target true, of [imitation], needs [finetune-imitation], after []`,
		`e2e: e2e, recipe "e2e", batch 40, phase "e2e", owner target, 28 px, module 0 of "" inside "", target true, of [e2e], needs [], after [meta module-1 module-2 assemble finetune]`,
		`e2e-56: highres, recipe "highres", batch 50, phase "highres", owner target, 56 px, module 0 of "" inside "", target true, of [e2e], needs [e2e], after []`,
	}
	for i := range max(len(got), len(want)) {
		g, w := "", ""
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Errorf("got  %s\nwant %s", g, w)
		}
	}
}

// TestContract checks what the rest of the program expects of the stages of every method, alone
// and with all other methods.
func TestContract(t *testing.T) {
	sets := [][]string{Names()}
	for _, name := range Names() {
		sets = append(sets, []string{name})
	}
	for _, methods := range sets {
		c := config(t, "run.methods="+strings.Join(methods, ","), "highres.image=56")
		seen := map[string]Stage{}
		for _, s := range Stages(c) {
			if _, ok := seen[s.Name]; ok || s.Name == "" || strings.ContainsAny(s.Name, "/ ") {
				t.Errorf("%v: %q is not a name of its own, or cannot name a folder", methods, s.Name)
			}
			for _, need := range append(slices.Clone(s.Needs), s.After...) {
				if _, ok := seen[need]; !ok {
					t.Errorf("%v: %s comes before %s, which it needs", methods, s.Name, need)
				}
			}
			if s.Inside != "" && !slices.Contains(s.Needs, s.Inside) {
				t.Errorf("%v: %s does not need %s, inside which it trains", methods, s.Name, s.Inside)
			}
			if (s.Module > 0) != (s.Group != "") || s.Module > 0 && s.Name != fmt.Sprintf("%s-%d", s.Group, s.Module) {
				t.Errorf("%v: %s is module %d of group %q", methods, s.Name, s.Module, s.Group)
			}
			if s.Trains() && (s.Settings(c) == nil || s.Phase == "") {
				t.Errorf("%v: %s has no recipe or no phase", methods, s.Name)
			}
			if s.Kind == "" || s.Owner == "" || s.Image <= 0 || s.work == nil {
				t.Errorf("%v: %+v is incomplete", methods, s)
			}
			seen[s.Name] = s
		}
		for _, name := range methods {
			own := StagesOf(name, Stages(c))
			if len(own) == 0 || !own[len(own)-1].Target || !own[len(own)-1].Trains() {
				t.Errorf("%v: the last stage of %s does not train the target model", methods, name)
			}
		}
	}
}

// TestFillStageInfo checks that stages of a run of an older version get the same StageInfo as
// those of a new run, and that StageInfo in a journal is kept.
func TestFillStageInfo(t *testing.T) {
	c := config(t, "run.methods=assembling,e2e")
	state := &runs.State{Stages: []runs.StageState{{Name: "module-2"}, {Name: "of-another-version"}, {Name: "finetune", StageInfo: runs.StageInfo{Kind: "finetune", Batch: 7}}}}
	if HasStageInfo(state) {
		t.Error("described before")
	}
	FillStageInfo(state, c)
	want := runs.StageInfo{Kind: "incubate", Module: 2, Group: "module", Inside: "meta", Recipe: "modular", Batch: 20}
	if got := state.Stages[0].StageInfo; got != want {
		t.Errorf("module-2: %+v, want %+v", got, want)
	}
	if got := state.Stages[1].StageInfo; got != (runs.StageInfo{}) {
		t.Errorf("an unknown stage: %+v", got)
	}
	if got := state.Stages[2].Batch; got != 7 {
		t.Errorf("the journal's batch became %d", got)
	}
}

// TestCheck checks that problems with methods name the file or the option that sets them.
func TestCheck(t *testing.T) {
	for _, c := range []struct {
		sets []string
		want []string
	}{
		{[]string{"run.methods=e2e", "run.equal=epochs"}, nil},
		{[]string{"run.methods=assembling,imitation,e2e", "run.equal=cost"}, nil},
		{[]string{"run.methods=assemblig,e2e,e2e"}, []string{
			`--set run.methods=assemblig,e2e,e2e: run.methods = ["assemblig", "e2e", "e2e"]: unknown method "assemblig"; did you mean "assembling"?`,
			`--set run.methods=assemblig,e2e,e2e: run.methods = ["assemblig", "e2e", "e2e"]: names "e2e" twice`}},
		{[]string{"run.methods=dgl,e2e"}, []string{
			`--set run.methods=dgl,e2e: run.methods = ["dgl", "e2e"]: dgl is not built yet; the presets have the paper's results of it for comparison; ` + presets.Suggest("", Names())}},
		{[]string{"run.methods=e2e,assembling", "run.equal=cost"}, []string{
			`--set run.equal=cost: run.equal = "cost": e2e cannot train for the cost of the first method, because e2e is the first method; name another method first in run.methods, or set run.equal = "epochs"`}},
	} {
		var got []string
		for _, p := range Check(config(t, c.sets...)) {
			got = append(got, p.String())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v:\ngot  %q\nwant %q", c.sets, got, c.want)
		}
	}
}

// TestCombinations checks that every choice is valid if run.equal is not "cost".
func TestCombinations(t *testing.T) {
	for _, methods := range Combinations() {
		if ps := Check(config(t, "run.methods="+strings.Join(methods, ","), "run.equal=epochs")); ps != nil {
			t.Errorf("%v: %v", methods, ps)
		}
	}
}

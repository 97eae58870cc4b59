package pipeline

import (
	"maps"
	"slices"
	"testing"

	"hatchery/presets"
)

// stagesThatChange returns the stages whose keys differ between two configurations.
func stagesThatChange(t *testing.T, base, sets []string) []string {
	t.Helper()
	var keys [2]map[string]string
	for i, s := range [][]string{base, append(slices.Clone(base), sets...)} {
		c, err := presets.Load("quickstart", s)
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = StageKeys(c)
	}
	var changed []string
	for _, stage := range slices.Sorted(maps.Keys(keys[0])) {
		if keys[0][stage] != keys[1][stage] {
			changed = append(changed, stage)
		}
	}
	return changed
}

func TestStageKeys(t *testing.T) {
	all := []string{"assemble", "assemble-imitation", "e2e", "finetune", "finetune-imitation", "imitation-1", "imitation-2", "meta", "module-1", "module-2"}
	butMeta := slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == "meta" })
	ours := slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == "e2e" })
	after := slices.DeleteFunc(slices.Clone(ours), func(s string) bool { return s == "meta" })
	base := []string{"modules.k=2", "run.methods=assembling,imitation,e2e", "run.equal=epochs"}
	for _, test := range []struct {
		set  string
		want []string
	}{
		{"seed=1", all},
		{"data.train=1000", all},
		{"model.width=32", all},
		{"model.depth=12", butMeta},
		{"meta.lr=1e-4", ours},
		{"modules.meta_depth=2", ours},
		{"modules.split=3,5", after},
		{"modular.epochs=5", after},
		{"run.together=false", after},
		{"finetune.lr=1e-4", []string{"finetune", "finetune-imitation"}},
		{"e2e.epochs=3", []string{"e2e"}},
		{"e2e.mix_batch=50", []string{"e2e"}},
		{"meta.mix_batch=50", ours},
		{"modular.mix_batch=50", after},
		{"run.equal=cost", []string{"e2e"}},
		{"run.threads=1", nil},
		{"run.device=cpu", nil},
		{"data.root=/elsewhere", nil}, // the images are compared
		{"modular.micro_batch=50", after},
		{"modular.eval_every=9", after},
		{"data.eval=100", all},
		{"data.partition=true", after},
		{"compat=official", all},
		{"highres.image=35", nil},
		{"launch.slurm.partition=gpu", nil},
	} {
		if got := stagesThatChange(t, base, []string{test.set}); !slices.Equal(got, test.want) {
			t.Errorf("%s changes %v, want %v", test.set, got, test.want)
		}
	}
	// Fine-tuning at a larger image size depends on that size and on its initial weights.
	base = append(base, "highres.image=35")
	larger := []string{"e2e-35", "finetune-35", "finetune-imitation-35"}
	if got := stagesThatChange(t, base, []string{"highres.lr=1e-4"}); !slices.Equal(got, larger) {
		t.Errorf("highres.lr changes %v, want %v", got, larger)
	}
	if got := stagesThatChange(t, base, []string{"e2e.epochs=3"}); !slices.Equal(got, []string{"e2e", "e2e-35"}) {
		t.Errorf("e2e.epochs changes %v", got)
	}
	// Other settings with the same meta depth do not change the meta model.
	c, err := presets.Load("quickstart", []string{"modules.k=2", "modules.meta_depth=2"})
	if err != nil {
		t.Fatal(err)
	}
	d, err := presets.Load("quickstart", []string{"modules.k=4"})
	if err != nil {
		t.Fatal(err)
	}
	if StageKeys(c)["meta"] != StageKeys(d)["meta"] {
		t.Error("K = 2 with two layers a module and K = 4 with one have the same meta model of four layers")
	}
	// Methods that are not run do not matter.
	with := StageKeys(c)
	c.Run.Methods = []string{"assembling"}
	for stage, key := range StageKeys(c) {
		if with[stage] != key {
			t.Errorf("%s depends on the other methods of the run", stage)
		}
	}
}

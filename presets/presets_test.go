package presets

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"hatchery/models"
)

// The paper's numbers, typed from its tables a second time: each preset has its numbers
// and no others.
func TestPaperNumbers(t *testing.T) {
	text, err := os.ReadFile("testdata/paper.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) > 0 && words[0] != "#" {
			want[words[0]] = words[1:]
		}
	}
	all, err := List()
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range all {
		chain, err := readChain(info.Name)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		if s, ok := chain[len(chain)-1].layer["paper"]; ok { // Load refuses records
			for _, r := range s.value.Interface().([]PaperValue) {
				n := fmt.Sprintf("%s=%g", r.Metric, r.Value)
				if r.Method != "" {
					n = r.Method + ":" + n
				}
				got = append(got, n)
				if r.Source == "" {
					t.Errorf("%s: %s has no source", info.Name, n)
				}
			}
		}
		for i, n := range want[info.Name] { // 73.0 is 73
			key, value, _ := strings.Cut(n, "=")
			x, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			want[info.Name][i] = fmt.Sprintf("%s=%g", key, x)
		}
		slices.Sort(got)
		slices.Sort(want[info.Name])
		if !slices.Equal(got, want[info.Name]) {
			t.Errorf("%s:\ngot  %v\nwant %v", info.Name, got, want[info.Name])
		}
		delete(want, info.Name)
	}
	for name := range want {
		t.Errorf("no preset %s", name)
	}
}

// The models must be those whose cost the paper prints, to its last digit. Its
// parameters count a head of 1000 classes, and it prints 191.1 G for ViT-L at
// 384 where the other rows' way of counting gives 191.2.
func TestPaperCosts(t *testing.T) {
	found := 0
	for _, name := range loadable() {
		c := mustLoad(t, name)
		counted := c.Final()
		if c.Data.Name == "cifar-100" {
			counted.Classes = 1000
		}
		d, err := models.NewDivision(counted, c.Modules.K, c.Modules.Split, c.Modules.MetaDepth)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		cost := d.TargetNet().Cost()
		for _, r := range c.Paper {
			var got, want string
			switch {
			case r.Metric == "gmacs":
				got, want = fmt.Sprintf("%.1f", float64(cost.Forward)/1e9), fmt.Sprintf("%.1f", r.Value)
				if strings.HasPrefix(name, "table1-vit-l-384") {
					want = "191.2"
				}
			case r.Metric == "mparams" && c.Data.Name == "cifar-100":
				got, want = fmt.Sprintf("%.1f", float64(cost.Params)/1e6), fmt.Sprintf("%.1f", r.Value)
			case r.Metric == "mparams":
				got, want = fmt.Sprintf("%.0f", float64(cost.Params)/1e6), fmt.Sprintf("%.0f", r.Value)
			default:
				continue
			}
			found++
			if got != want {
				t.Errorf("%s: %s is %s, the paper prints %s", name, r.Metric, got, want)
			}
		}
	}
	if found != 25 {
		t.Errorf("%d costs compared, the presets have 25", found)
	}
}

// The recipes of the paper, its official code and the baselines' papers, stage
// by stage.
func TestRecipes(t *testing.T) {
	type stage struct {
		epochs, batch, warmup int
		peak, drop, clip      float64
		optimizer, mode       string
	}
	adamw := func(epochs, batch, warmup int, peak, drop, clip float64) stage {
		return stage{epochs, batch, warmup, peak, drop, clip, "adamw", "linear"}
	}
	type recipe struct{ meta, modular, finetune, e2e, highres stage }
	deit := adamw(30, 512, 5, 5e-6, .1, 0)
	imagenet := func(drop float64, e2e, highres stage) recipe {
		return recipe{adamw(300, 2048, 20, 2e-3, 0, 0), adamw(100, 2048, 20, 2e-3, .1, 0), adamw(100, 2048, 0, 2e-3, drop, 1), e2e, highres}
	}
	lamb := func(drop float64) stage { return stage{300, 2048, 20, 3e-3, drop, 1, "lamb", "uniform"} }
	cifar := recipe{adamw(300, 1024, 20, 1e-3, 0, 0), adamw(200, 1024, 20, 1e-3, .1, 0), adamw(100, 1024, 0, 1e-3, .1, 1), adamw(400, 1024, 20, 1e-3, .1, 0), deit}
	base := imagenet(.1, adamw(300, 1024, 5, 1e-3, .1, 0), deit)
	e2e := func(s stage) recipe { return imagenet(.1, s, deit) }
	vit := imagenet(.1, adamw(300, 4096, 32, 3e-3, 0, 1), adamw(8, 512, 0, 5e-6, 0, 1))
	of := func(s Recipe) stage {
		return stage{s.Epochs, s.Batch, s.WarmupEpochs, s.PeakLR(), s.DropPath, s.ClipGrad, s.Optimizer, s.DropPathMode}
	}
	wanted := map[string]recipe{
		"table1-vit-b":             base,
		"table1-vit-l":             imagenet(.5, lamb(.5), deit),
		"table1-vit-h":             imagenet(.6, lamb(.6), deit),
		"table1-vit-b-384":         base,
		"table1-vit-l-384":         imagenet(.5, lamb(.5), adamw(30, 512, 5, 5e-6, .5, 0)),
		"table1-vit-h-392":         imagenet(.6, lamb(.6), adamw(30, 512, 5, 5e-6, .6, 0)),
		"table1-vit-b-e2e-mae":     e2e(adamw(300, 4096, 20, 1.6e-3, .1, 0)),
		"table1-vit-l-e2e-mae":     e2e(adamw(200, 4096, 20, 1.6e-3, .2, 0)),
		"table1-vit-h-e2e-mae":     e2e(adamw(200, 4096, 20, 1.6e-3, .2, 0)),
		"table1-vit-b-384-e2e-vit": vit,
		"table1-vit-l-384-e2e-vit": vit,
		"table3-vit-b-100":         base,
		"table3-vit-b-50":          base,
		"table3-vit-b-25":          base,
		"table4-vit-b":             base,
		"table4-vit-b-dn":          base,
		"table5-vit-b":             base,
		"table2-deit-t-32":         cifar,
		"table2-deit-t-128":        cifar,
		"table5-deit-t-128":        cifar,
		"tablek-deit-t-32":         cifar,
		"tablek-deit-t-256":        cifar,
	}
	for _, name := range loadable() {
		c := mustLoad(t, name)
		want, ok := wanted[name]
		if len(c.Paper) == 0 {
			continue
		}
		if !ok {
			t.Errorf("no recipe is written down here for %s", name)
			continue
		}
		if got := (recipe{of(c.Meta), of(c.Modular), of(c.Finetune), of(c.E2E), of(c.HighRes.Recipe)}); got != want {
			t.Errorf("%s:\ngot  %v\nwant %v", name, got, want)
		}
		if c.Modules.K != 4 || c.Modules.MetaDepth != 1 {
			t.Errorf("%s: K = %d, meta depth %d; the paper's are 4 and 1", name, c.Modules.K, c.Modules.MetaDepth)
		}
		h := name == "table1-vit-h" || name == "table1-vit-h-392"
		if h == c.Model.QKVBias || h != (c.Model.NormEps == 1e-5) {
			t.Errorf("%s: qkv bias %t, norm eps %g", name, c.Model.QKVBias, c.Model.NormEps)
		}
		if mae := strings.HasSuffix(name, "-mae"); mae != (c.E2E.EMA == 0.9999 && c.E2E.EMAMode == "instead") || mae && c.E2E.DecayFrom != "warmup" {
			t.Errorf("%s: average %g %s, decay from %s", name, c.E2E.EMA, c.E2E.EMAMode, c.E2E.DecayFrom)
		}
		image := map[string]int{"table1-vit-b-384": 384, "table1-vit-l-384": 384, "table1-vit-h-392": 392, "table1-vit-b-384-e2e-vit": 384, "table1-vit-l-384-e2e-vit": 384}[name]
		if c.HighRes.Image != image {
			t.Errorf("%s: fine-tuned at %d pixels, want %d", name, c.HighRes.Image, image)
		}
		fraction := map[string]float64{"table3-vit-b-50": 0.5, "table3-vit-b-25": 0.25}[name]
		if c.Data.Fraction != cmp.Or(fraction, 1) || c.Data.Partition != strings.HasPrefix(name, "table5") {
			t.Errorf("%s: fraction %g, partition %t", name, c.Data.Fraction, c.Data.Partition)
		}
	}
}

// A preset that cannot be run yet gives the reason.
func TestNotRunnableYet(t *testing.T) {
	_, err := Load("table2-resnet-110", nil)
	if err == nil || !strings.Contains(err.Error(), "table2-resnet-110 cannot be planned or run yet: it needs residual networks; hatchery presets show") {
		t.Errorf("ResNet-110: %v", err)
	}
	err = mustLoad(t, "table1-vit-b-384-e2e-vit").Runnable()
	if err == nil || !strings.Contains(err.Error(), "needs fine-tuning by SGD with momentum, which is not built yet") {
		t.Errorf("E2E-ViT: %v", err)
	}
}

func TestEveryPresetIsValid(t *testing.T) {
	for _, name := range loadable() {
		c := mustLoad(t, name)
		data := DataInfo{}
		if strings.HasPrefix(c.Data.Name, "fashion-mnist") {
			data = fashion
		}
		if err := c.Validate(data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.Name != name || c.Title == "" || c.Notes == "" {
			t.Errorf("%s: name %q, title %q, notes %q", name, c.Name, c.Title, c.Notes)
		}
	}
}

func TestList(t *testing.T) {
	list, err := List()
	if err != nil {
		t.Fatal(err)
	}
	find := func(name string) Info {
		i := slices.IndexFunc(list, func(i Info) bool { return i.Name == name })
		if i < 0 {
			t.Fatalf("no %s in %v", name, list)
		}
		return list[i]
	}
	if got, want := find("table2-deit-t-32"), (Info{"table2-deit-t-32", "DeiT-T-32 on CIFAR-100", "Table 2, DeiT-T-32", false, "", false}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if !find("deit").Abstract {
		t.Error("deit must be abstract")
	}
	if find("quickstart").Source != "" {
		t.Error("quickstart is not the paper's")
	}
}

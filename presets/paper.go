package presets

import (
	"fmt"
	"slices"
)

// PaperValue is a number that the paper reports for an experiment. Method is one of
// Run.Methods with the settings of this experiment; or one that the paper compares it
// with: a baseline ("e2e-vit", "e2e-mae", "infopro", "dgl"), or assembling with other
// settings ("assembling-all" data, "assembling-k8"). It is empty for a property of the
// model itself.
type PaperValue struct {
	Source string  `toml:"source"` // "Table 2, DeiT-T-32"
	Method string  `toml:"method"`
	Metric string  `toml:"metric"` // "top1" (%), "gpu_hours" (A100), "train_loss", "gmacs" (the paper's FLOPs), "mparams"
	Value  float64 `toml:"value"`
}

// Methods and metrics of the paper's tables.
var (
	paperMethods = []string{"", "assembling", "imitation", "e2e", "e2e-vit", "e2e-mae", "infopro", "dgl",
		"assembling-all", "assembling-k2", "assembling-k8", "assembling-k16"}
	paperMetrics = []string{"top1", "gpu_hours", "train_loss", "gmacs", "mparams"}
)

// checkPaper checks each of the paper's numbers, and that none is given twice.
func (v *validator) checkPaper() {
	seen := map[PaperValue]bool{}
	for _, p := range v.c.Paper {
		if !finite(p.Value) {
			v.fail("paper", "must hold finite numbers", "")
		}
		if !slices.Contains(paperMethods, p.Method) {
			v.fail("paper", fmt.Sprintf("unknown method %q", p.Method), Suggest(p.Method, paperMethods[1:]))
		}
		if !slices.Contains(paperMetrics, p.Metric) {
			v.fail("paper", fmt.Sprintf("unknown metric %q", p.Metric), Suggest(p.Metric, paperMetrics))
		}
		p.Value = 0
		if seen[p] {
			v.fail("paper", fmt.Sprintf("two values of %s of %q in %q", p.Metric, p.Method, p.Source), "keep one")
		}
		seen[p] = true
	}
}

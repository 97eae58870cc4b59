package method

import (
	"fmt"

	"hatchery/engine/runs"
	"hatchery/models"
	"hatchery/presets"
)

// endToEnd is the baseline: the target model is trained end to end.
type endToEnd struct{}

func (endToEnd) Name() string { return "e2e" }

func (m endToEnd) Stages(c *presets.Config, before []Stage) []Stage {
	e2e := Stage{
		Name: "e2e", StageInfo: runs.StageInfo{Kind: "e2e", Target: true, Recipe: "e2e"},
		Phase: "e2e", Owner: models.Target, Image: c.Model.Image, work: target{},
		Effects: undivided,
		Values:  map[string]string{"run.equal": `"epochs"`},
	}
	if first := c.Run.Methods[0]; c.Run.Equal == "cost" && first != m.Name() {
		for _, s := range StagesOf(first, before) {
			if s.Recipe != "highres" { // both methods end with that
				e2e.After = append(e2e.After, s.Name)
			}
		}
		e2e.Values = map[string]string{"run.equal": fmt.Sprintf("%q, that of %s", c.Run.Equal, first), "e2e.epochs": ""}
	}
	return append([]Stage{e2e}, highRes(c, e2e.Name)...)
}

func (m endToEnd) check(c *presets.Config) presets.Problems {
	if c.Run.Equal != "cost" || c.Run.Methods[0] != m.Name() {
		return nil
	}
	return presets.Problems{c.Problem("run.equal", "e2e cannot train for the cost of the first method, because e2e is the first method",
		`name another method first in run.methods, or set run.equal = "epochs"`)}
}

package method

import (
	"fmt"

	"hatchery/engine/runs"
	"hatchery/models"
	"hatchery/presets"
)

// highRes returns the stage that fine-tunes the result of a method's last stage at a larger
// image size (the rows at 384 and 392 pixels of the paper's Table 1), if the experiment has
// one.
func highRes(c *presets.Config, last string) []Stage {
	if c.HighRes.Image <= 0 {
		return nil
	}
	return []Stage{{
		Name: fmt.Sprintf("%s-%d", last, c.HighRes.Image), StageInfo: runs.StageInfo{Kind: "highres", Target: true, Recipe: "highres"},
		Needs: []string{last}, Phase: "highres", Owner: models.Target, Image: c.HighRes.Image, work: target{}, Effects: undivided,
	}}
}

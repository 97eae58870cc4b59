package presets

import (
	"fmt"
	"math"
)

// Scale multiplies the epochs of every stage by f, 0 < f <= 1, and rounds them to at
// least one. A warm-up may become 0 and stays shorter than its stage.
func (c *Config) Scale(f float64) {
	for _, g := range c.recipes() {
		r := g.recipe
		r.Epochs = max(1, int(math.Round(f*float64(r.Epochs))))
		r.WarmupEpochs = min(int(math.Round(f*float64(r.WarmupEpochs))), r.Epochs-1)
		r.EvalEvery = min(r.EvalEvery, r.Epochs)
	}
	c.Schedule = fmt.Sprintf("%d+%d", c.Modular.Epochs, c.Finetune.Epochs)
}

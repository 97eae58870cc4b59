package presets

import (
	"fmt"
	"math"
)

// Scale multiplies the length of every stage by f, 0 < f <= 1, rounded, and at
// least one epoch; the warm-up, which may come to nothing, stays shorter than
// its stage.
func (c *Config) Scale(f float64) {
	for _, s := range c.stages() {
		s.Epochs = max(1, int(math.Round(f*float64(s.Epochs))))
		s.WarmupEpochs = min(int(math.Round(f*float64(s.WarmupEpochs))), s.Epochs-1)
		s.EvalEvery = min(s.EvalEvery, s.Epochs)
	}
	c.Schedule = fmt.Sprintf("%d+%d", c.Modular.Epochs, c.Finetune.Epochs)
}

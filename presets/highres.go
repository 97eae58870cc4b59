package presets

import "fmt"

// HighRes holds the settings of the fine-tuning at a larger image size that follows
// finetune and e2e (the 384 and 392 rows of the paper's Table 1).
type HighRes struct {
	Image int `toml:"image"`
	Recipe
}

func (h *HighRes) settings() []Setting {
	image := Setting{field: &h.Image, Unit: "px", Limits: from(0).or(0, "off").atMost(maxSize), Form: "whole patches",
		Help: "image size of a last fine-tuning"}
	return append([]Setting{image}, h.Recipe.settings()...)
}

// checkHighRes checks the image size of the last stage against the patch size.
func (v *validator) checkHighRes() {
	image, patch := v.c.HighRes.Image, v.c.Model.Patch
	switch {
	case patch < 1: // reported as wrong by itself
	case image%patch != 0:
		v.fail("highres.image", fmt.Sprintf("patches of %d pixels do not divide it", patch), fmt.Sprintf("set %d", (image/patch+1)*patch))
	case (image/patch)*(image/patch) > maxTokens:
		v.fail("highres.image", "has more patches than can be trained", "0 means off")
	}
}

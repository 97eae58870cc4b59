package presets

import (
	"errors"
	"fmt"

	"hatchery/datasets/randaugment"
)

const maxRepeats = 1000 // far above any experiment

// Augment is DeiT's augmentation of training images and targets.
type Augment struct {
	CropPadding int       `toml:"crop_padding"`
	Flip        float64   `toml:"flip"`
	Mixup       float64   `toml:"mixup"`
	CutMix      float64   `toml:"cutmix"`
	MixProb     float64   `toml:"mix_prob"`
	SwitchProb  float64   `toml:"switch_prob"`
	Smoothing   float64   `toml:"smoothing"`
	ResizedCrop []float64 `toml:"resized_crop"`
	RandAugment string    `toml:"rand_augment"`
	Reprob      float64   `toml:"reprob"`
	Repeats     int       `toml:"repeats"`
}

func (a *Augment) settings() []Setting {
	probability := from(0).upTo(1)
	return []Setting{
		{field: &a.CropPadding, Unit: "px", Limits: from(0).or(0, "off").belowThe("image"),
			Help: "random crop after zero padding by this many pixels"},
		{field: &a.Flip, Limits: probability,
			Help: "probability of a horizontal flip"},
		{field: &a.Mixup, Limits: from(0).or(0, "off"),
			Help: "alpha of mixup's Beta distribution"},
		{field: &a.CutMix, Limits: from(0).or(0, "off"),
			Help: "alpha of CutMix's Beta distribution"},
		{field: &a.MixProb, Limits: probability,
			Help: "probability that a group (mix_batch) is mixed"},
		{field: &a.SwitchProb, Limits: probability,
			Help: "probability of CutMix rather than mixup when both are on"},
		{field: &a.Smoothing, Limits: from(0).below(1).or(0, "off"),
			Help: "label smoothing"},
		{field: &a.ResizedCrop, Unit: "area", Form: "[min, max] or []", Rule: rule(checkAreas),
			Help: "random resized crop; [] is off"},
		{field: &a.RandAugment, Form: "timm's notation", Rule: rule(checkRandAugment),
			Help: "RandAugment; empty is off"},
		{field: &a.Reprob, Limits: probability.or(0, "off"),
			Help: "probability of erasing a random rectangle"},
		{field: &a.Repeats, Limits: from(1).or(1, "off").atMost(maxRepeats),
			Help: "copies of an image in an epoch (repeated augmentation)"},
	}
}

func checkAreas(crop []float64) error {
	if len(crop) != 0 && (len(crop) != 2 || crop[0] <= 0 || crop[0] > crop[1] || crop[1] > 1) {
		return errors.New("must hold the minimum and the maximum area, above 0 and up to 1; [] means off")
	}
	return nil
}

func checkRandAugment(notation string) error {
	if notation == "" {
		return nil
	}
	if _, err := randaugment.Parse(notation); err != nil {
		return fmt.Errorf(`%w; "" means off`, err)
	}
	return nil
}

// checkAugment checks the augmentation against the size and the channels of the images.
func (v *validator) checkAugment() {
	a, m := v.c.Augment, v.c.Model
	if len(a.ResizedCrop) > 0 && a.CropPadding > 0 {
		v.fail("augment.crop_padding", "cannot be combined with augment.resized_crop", "set augment.resized_crop = [] or augment.crop_padding = 0")
	} else if a.CropPadding >= max(m.Image, 1) {
		v.fail("augment.crop_padding", fmt.Sprintf("must be below model.image = %d", m.Image), "0 means off")
	}
	if a.RandAugment != "" && m.Channels != 1 && m.Channels != 3 {
		v.fail("augment.rand_augment", fmt.Sprintf("is for images of 1 or 3 channels, not %d", m.Channels), `set augment.rand_augment = ""`)
	}
}

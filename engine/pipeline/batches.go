package pipeline

import (
	"hatchery/datasets"
	"hatchery/engine/backend"
	"hatchery/models"
	"hatchery/presets"
)

func (r *runner) trainLoader(s *trainStage, set *datasets.Set) (*datasets.Loader, error) {
	a := s.augment(r.config)
	opt := loaderOptions(r.config, r.backend, s.network, s.recipe.Batch)
	if images := epochImages(r.config, r.train); images != set.Len() {
		opt.Steps = a.Visits(images) / s.recipe.Batch
	}
	return datasets.NewTrainLoader(set, opt, datasets.Training{Seed: r.config.Seed, Purpose: s.Phase, Augment: a})
}

// augment returns the augmentation of the stage.
func (s *trainStage) augment(c *presets.Config) datasets.Augment {
	a := augment(c)
	a.MixBatch = s.recipe.MixBatch
	return a
}

// augment returns the settings of the augmentation that are the same for all stages.
func augment(c *presets.Config) datasets.Augment {
	a := c.Augment
	d := datasets.Augment{
		CropPadding: a.CropPadding, Flip: a.Flip, RandAugment: a.RandAugment, Reprob: a.Reprob,
		Mixup: a.Mixup, CutMix: a.CutMix, MixProb: a.MixProb, SwitchProb: a.SwitchProb,
		Smoothing: a.Smoothing, Repeats: a.Repeats,
	}
	copy(d.ResizedCrop[:], a.ResizedCrop)
	return d
}

// prefetch is the number of batches that are prepared in advance.
const prefetch = 2

// loaderOptions returns the options for preparing a network's batches. Prefetch and Workers
// do not affect their content.
func loaderOptions(c *presets.Config, b backend.Backend, n models.Network, batch int) datasets.Options {
	return datasets.Options{Batch: batch, Size: n.Image, Prefetch: prefetch, Workers: threads(c), Raw: b.Info().Raw}
}

// partitionSeed determines which images are in which part. As for other subsets, it does not
// depend on the run's seed.
const partitionSeed = 0

// epochImages returns the number of images in an epoch. If only a fraction of the data set is
// used, or only one part of it is present, an epoch is as long as with the whole set.
func epochImages(c *presets.Config, train *datasets.Set) int {
	if c.Data.Fraction < 1 || train.Part.K > 0 {
		return train.Whole
	}
	return train.Len()
}

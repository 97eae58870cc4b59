package presets

import (
	"errors"
	"fmt"
)

const maxImages = 1 << 40 // far above any data set

// Data holds the data set and the part of it to use.
type Data struct {
	Name  string `toml:"name"` // as in `hatchery data list`
	Root  string `toml:"root"`
	Train int    `toml:"train"`
	Eval  int    `toml:"eval"`

	// With a Fraction below 1, an epoch has as many steps as with all images, as in the
	// paper's Table 3.
	Fraction float64 `toml:"fraction"`

	// With Partition, the training images are divided into K disjoint, class-balanced
	// parts, and module i trains on part i for as many steps as with all images (the
	// paper's DistData, section 4.3). The other stages use all images.
	Partition bool `toml:"partition"`

	SkipCorrupt bool `toml:"skip_corrupt"`
}

func (d *Data) settings() []Setting {
	images := from(0).or(0, "all").atMost(maxImages)
	return []Setting{
		{field: &d.Name, Form: "a known set", ExternalWords: true, Help: "name of the data set, as in hatchery data list",
			Rule: rule(func(name string) error {
				if name == "" {
					return errors.New("must not be empty")
				}
				return nil
			})},
		{field: &d.Root, Unit: "folder", Path: true, Effect: EffectNone, // a run records the digest of its images and compares it
			Help: "folder with its files; empty: the default folders"},
		{field: &d.Train, Unit: "images", Limits: images, Help: "size of a class-balanced subset of the training images"},
		{field: &d.Eval, Unit: "images", Limits: images, Help: "size of a class-balanced subset of the evaluation images"},
		{field: &d.Fraction, Limits: above(0).upTo(1).or(1, "all"),
			Help: "fraction of the training images of each class, for as many steps as with all images"},
		{field: &d.Partition, Stages: []string{"modular"},
			Help: "module i trains on part i of K, for as many steps as with all images"},
		{field: &d.SkipCorrupt, Effect: EffectNone, // as for the root
			Help: "leave out pictures that cannot be decoded; all are decoded once to find them"},
	}
}

// DataInfo holds the properties of a data set that validation needs. Zero means unknown,
// or not the same for every image.
type DataInfo struct {
	Classes       int
	Height, Width int // pixels, as the model reads them
	Channels      int
	Train, Eval   int // images
}

// checkData checks the configuration against the data set, and that it selects only one
// subset of it.
func (v *validator) checkData(d DataInfo) {
	m, want := v.c.Model, v.c.Data
	set := fmt.Sprintf("data set %s", want.Name)
	if d.Classes > 0 && m.Classes != d.Classes {
		v.fail("model.classes", fmt.Sprintf("%s has %d", set, d.Classes), fmt.Sprintf("set model.classes = %d", d.Classes))
	}
	if d.Channels > 0 && m.Channels != d.Channels {
		v.fail("model.channels", fmt.Sprintf("images of %s have %d", set, d.Channels), fmt.Sprintf("set model.channels = %d", d.Channels))
	}
	if d.Height > 0 && d.Width > 0 && (m.Image != d.Height || m.Image != d.Width) {
		v.fail("model.image", fmt.Sprintf("images of %s have %dx%d pixels", set, d.Height, d.Width), fmt.Sprintf("set model.image = %d", d.Height))
	}
	for _, part := range []struct {
		key      string
		n, total int
	}{{"data.train", want.Train, d.Train}, {"data.eval", want.Eval, d.Eval}} {
		if part.total > 0 && part.n > part.total {
			v.fail(part.key, fmt.Sprintf("%s has %d images", set, part.total), "0 takes all of them")
		}
	}
	if want.Fraction < 1 && want.Train > 0 {
		v.fail("data.fraction", fmt.Sprintf("data.train = %d selects another subset", want.Train), "set data.train = 0 or data.fraction = 1")
	}

	images := want.Train
	if images <= 0 {
		images = d.Train
	}
	for _, g := range v.c.recipes() {
		if images > 0 && g.recipe.Batch > images {
			v.fail(g.table+".batch", fmt.Sprintf("more than the %d training images: an epoch would have no step", images), "")
		}
	}
}

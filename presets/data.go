package presets

import (
	"errors"
	"fmt"
)

const maxImages = 1 << 40 // no data set comes near it

// Data names a data set and the part of it to use.
type Data struct {
	Name  string `toml:"name"` // as `hatchery data list` has them
	Root  string `toml:"root"`
	Train int    `toml:"train"`
	Eval  int    `toml:"eval"`

	// With a Fraction, an epoch keeps the number of steps that it has with all images,
	// as in the paper's Table 3.
	Fraction float64 `toml:"fraction"`

	// With a Partition, the training images are divided into k parts, class-balanced and
	// without a common image, and module i is trained on part i with the number of
	// steps of the whole (the paper's DistData, section 4.3). The other stages
	// see all images.
	Partition bool `toml:"partition"`

	SkipCorrupt bool `toml:"skip_corrupt"`
}

func (d *Data) settings() []Setting {
	images := from(0).or(0, "all").atMost(maxImages)
	return []Setting{
		{field: &d.Name, Form: "a known set", WordsElsewhere: true, Help: "name of the data set, as hatchery data list has it",
			Rule: rule(func(name string) error {
				if name == "" {
					return errors.New("must not be empty")
				}
				return nil
			})},
		{field: &d.Root, Unit: "folder", Path: true, Effect: EffectNone, // a run records its images and compares them
			Help: "folder with its files; empty: the usual places"},
		{field: &d.Train, Unit: "images", Limits: images, Help: "class-balanced part of the training images"},
		{field: &d.Eval, Unit: "images", Limits: images, Help: "class-balanced part of the evaluation images"},
		{field: &d.Fraction, Limits: above(0).upTo(1).or(1, "all"),
			Help: "part of the training images of each class; steps as with all of them"},
		{field: &d.Partition, Stages: []string{"modular"},
			Help: "module i trains on part i of K, for as many steps"},
		{field: &d.SkipCorrupt, Effect: EffectNone, // likewise
			Help: "leave out pictures that cannot be decoded; all are decoded once to find them"},
	}
}

// DataInfo is what validation needs to know of a data set. A zero means that it
// is not known, or not the same for every image.
type DataInfo struct {
	Classes       int
	Height, Width int // pixels, as the model gets them
	Channels      int
	Train, Eval   int // images
}

// checkData checks what only the data set can tell, and that one part of it is asked for.
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
		key        string
		n, present int
	}{{"data.train", want.Train, d.Train}, {"data.eval", want.Eval, d.Eval}} {
		if part.present > 0 && part.n > part.present {
			v.fail(part.key, fmt.Sprintf("%s has %d images", set, part.present), "0 takes all of them")
		}
	}
	if want.Fraction < 1 && want.Train > 0 {
		v.fail("data.fraction", fmt.Sprintf("data.train = %d asks for another part", want.Train), "set data.train = 0 or data.fraction = 1")
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

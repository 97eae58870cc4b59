package datasets

import (
	"fmt"
	"math"
	"slices"

	"hatchery/datasets/picture"
	"hatchery/datasets/randaugment"
	"hatchery/engine/random"
)

// Augment holds the changes of training images and their targets, in the order in
// which they are applied. It follows DeiT: crop as in its CIFAR recipe (torchvision's
// RandomCrop), mixing as timm's Mixup in batch mode. The zero value changes nothing.
type Augment struct {
	CropPadding int        // pad by this many black pixels on each side, then crop to the old size
	ResizedCrop [2]float64 // minimum and maximum of the fraction of the image's area that is cropped and resized (torchvision's RandomResizedCrop); zero means off
	Flip        float64    // probability of a horizontal flip
	RandAugment string     // changes of geometry and colour in timm's notation (see package randaugment); empty means none
	Reprob      float64    // probability of erasing a box (see Erase)
	Mixup       float64    // alpha of mixup's Beta(alpha, alpha); 0 means no mixup
	CutMix      float64    // alpha of CutMix's Beta(alpha, alpha); 0 means no CutMix
	MixBatch    int        // images in a group, which share a draw and are mixed with one another; 0 means the whole batch
	MixProb     float64    // probability that a group is mixed at all
	SwitchProb  float64    // probability of CutMix rather than mixup if both are on
	Smoothing   float64    // label smoothing, of targets mixed or not

	// Repeats is the number of visits to an image before the next one (repeated
	// augmentation, see NewTrainLoader); 0 and 1 mean one.
	Repeats int
}

// Visits returns the number of images that an epoch over a set of n images visits:
// n, or with repeated augmentation, as in DeiT, n rounded down to a multiple of 256
// (but n if it is less than 256).
func (a Augment) Visits(n int) int {
	if a.Repeats > 1 && n >= 256 {
		return n - n%256
	}
	return n
}

// Check checks the values, for images of a set.
func (a Augment) Check(spec *Spec) error {
	if size := min(spec.Height, spec.Width); a.CropPadding < 0 || a.CropPadding >= size {
		return fmt.Errorf("crop padding is %d, want 0 to %d, less than the %dx%d image", a.CropPadding, size-1, spec.Height, spec.Width)
	}
	if r := a.ResizedCrop; a.resizes() {
		if !(r[0] > 0 && r[0] <= r[1] && r[1] <= 1) {
			return fmt.Errorf("resized crop has areas of %v to %v of the image, want 0 < minimum <= maximum <= 1", r[0], r[1])
		}
		if a.CropPadding != 0 {
			return fmt.Errorf("a padded crop and a resized crop cannot be combined: choose one")
		}
	}
	if a.RandAugment != "" {
		if _, err := randaugment.Parse(a.RandAugment); err != nil {
			return err
		}
		if spec.Channels != 1 && spec.Channels != 3 {
			return fmt.Errorf("RandAugment is for images of 1 or 3 channels, not %d", spec.Channels)
		}
	}
	if a.MixBatch < 0 || a.MixBatch == 1 {
		return fmt.Errorf("images are mixed in groups of %d, want at least 2, or 0 for the whole batch", a.MixBatch)
	}
	if a.Repeats < 0 {
		return fmt.Errorf("repeats is %d, want at least 1, or 0 for none", a.Repeats)
	}
	for _, f := range []struct {
		name   string
		v, max float64
	}{
		{"flip", a.Flip, 1},
		{"reprob", a.Reprob, 1},
		{"mixup", a.Mixup, math.MaxFloat64},
		{"cutmix", a.CutMix, math.MaxFloat64},
		{"mix probability", a.MixProb, 1},
		{"switch probability", a.SwitchProb, 1},
		{"smoothing", a.Smoothing, 1},
	} {
		if !(f.v >= 0 && f.v <= f.max) { // NaN too
			if f.max == 1 {
				return fmt.Errorf("%s is %v, want 0 to 1", f.name, f.v)
			}
			return fmt.Errorf("%s is %v, want 0 (off) or a positive alpha", f.name, f.v)
		}
	}
	return nil
}

// resizes reports whether there is a random resized crop.
func (a *Augment) resizes() bool { return a.ResizedCrop != [2]float64{} }

// Minimum and maximum aspect ratio, width over height, of torchvision's resized crop.
const minAspect, maxAspect = 3. / 4, 4. / 3

// drawResizedCrop draws the part of an image of w x h pixels that is cropped. If ten
// draws do not fit into the image, it is the centre, as large as the aspect ratio
// allows.
func (a *Augment) drawResizedCrop(s *random.Stream, w, h int) (x, y, cw, ch int) {
	least, most := a.ResizedCrop[0], a.ResizedCrop[1]
	logMin, logMax := math.Log(minAspect), math.Log(maxAspect)
	for range 10 {
		area := (least + (most-least)*s.Float64()) * float64(w*h)
		aspect := math.Exp(logMin + (logMax-logMin)*s.Float64())
		cw = max(1, int(math.RoundToEven(math.Sqrt(area*aspect))))
		ch = max(1, int(math.RoundToEven(math.Sqrt(area/aspect))))
		if cw <= w && ch <= h {
			y, x = s.IntN(h-ch+1), s.IntN(w-cw+1)
			return x, y, cw, ch
		}
	}
	cw, ch = w, h
	switch aspect := float64(w) / float64(h); {
	case aspect < minAspect:
		ch = int(math.RoundToEven(float64(w) / minAspect))
	case aspect > maxAspect:
		cw = int(math.RoundToEven(float64(h) * maxAspect))
	}
	return (w - cw) / 2, (h - ch) / 2, cw, ch
}

// geometry is the draw for one image: the source pixel of the top left corner,
// which may lie in the padding, and whether the crop is then mirrored.
type geometry struct {
	y, x int
	flip bool
}

func (a *Augment) drawGeometry(s *random.Stream) geometry {
	var g geometry
	if p := a.CropPadding; p > 0 {
		g.y, g.x = s.IntN(2*p+1)-p, s.IntN(2*p+1)-p
	}
	g.flip = a.Flip > 0 && s.Float64() < a.Flip
	return g
}

// apply crops and mirrors one image, both planes of Channels x Height x Width.
// Padding is black, as in torchvision.
func (g geometry) apply(dst, src []uint8, spec *Spec) {
	h, w := spec.Height, spec.Width
	// The columns of dst that have a source, before flipping: [left, right).
	left, right := max(0, -g.x), min(w, w-g.x)
	for c := range spec.Channels {
		for y := range h {
			out := dst[(c*h+y)*w:][:w]
			from := y + g.y
			if from < 0 || from >= h {
				clear(out)
				continue
			}
			clear(out[:left])
			clear(out[right:])
			copy(out[left:right], src[(c*h+from)*w:][left+g.x:])
			if g.flip {
				slices.Reverse(out)
			}
		}
	}
}

// applyTo does the same for a picture of an image's size. It uses the memory of
// spare, and may swap the two.
func (g geometry) applyTo(p, spare *picture.Picture) {
	if g.x != 0 || g.y != 0 {
		spare.Crop(p, g.x, g.y, p.Width, p.Height)
		*p, *spare = *spare, *p
	}
	if g.flip {
		p.Mirror()
	}
}

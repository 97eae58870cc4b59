package datasets

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/stat/distuv"

	"hatchery/engine/random"
)

// Augment is how training images and their targets are changed, in the order of
// the fields. It follows DeiT: crop as in its CIFAR recipe (torchvision's
// RandomCrop), mixing as timm's Mixup in batch mode. The zero value changes
// nothing.
type Augment struct {
	CropPadding int     // pad by this many black pixels on each side, then crop to the old size
	Flip        float64 // probability of a horizontal flip
	Mixup       float64 // alpha of mixup's Beta(alpha, alpha); 0: no mixup
	CutMix      float64 // alpha of CutMix's Beta(alpha, alpha); 0: no CutMix
	MixProb     float64 // probability that a batch is mixed at all
	SwitchProb  float64 // probability of CutMix rather than mixup where both are on
	Smoothing   float64 // label smoothing, of targets mixed or not
}

// Check says whether the values make sense for a set's images.
func (a Augment) Check(spec *Spec) error {
	if size := min(spec.Height, spec.Width); a.CropPadding < 0 || a.CropPadding >= size {
		return fmt.Errorf("crop padding is %d, want 0 to %d, less than the %dx%d image", a.CropPadding, size-1, spec.Height, spec.Width)
	}
	for _, f := range []struct {
		name   string
		v, max float64
	}{
		{"flip", a.Flip, 1},
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

// geometry is one image's draw: the source pixel that comes to the top left
// corner, which may lie in the padding, and whether the crop is then mirrored.
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

// normaliser maps a pixel of each channel to (pixel/255 - mean) / std.
type normaliser [][256]float32

func newNormaliser(spec *Spec) normaliser {
	n := make(normaliser, spec.Channels)
	for c := range n {
		mean, std := float64(spec.Mean[c]), float64(spec.Std[c])
		for v := range n[c] {
			n[c][v] = float32((float64(v)/255 - mean) / std)
		}
	}
	return n
}

// apply crops, flips and normalises one image in one pass. Padding is black
// before normalisation, as torchvision has it. dst and src have the size of an
// image of the spec.
func (n normaliser) apply(dst []float32, src []uint8, spec *Spec, g geometry) {
	h, w := spec.Height, spec.Width
	// The columns of dst that have a source, before flipping: [left, right).
	left, right := max(0, -g.x), min(w, w-g.x)
	for c := range n {
		table := &n[c]
		black := table[0]
		for y := range h {
			out := dst[(c*h+y)*w:][:w]
			from := y + g.y
			if from < 0 || from >= h {
				fill(out, black)
				continue
			}
			in := src[(c*h+from)*w:][left+g.x : right+g.x]
			if g.flip {
				fill(out[:w-right], black)
				fill(out[w-left:], black)
				inside := out[w-right : w-left]
				inside = inside[:len(in)]
				for i, v := range in {
					inside[len(inside)-1-i] = table[v]
				}
			} else {
				fill(out[:left], black)
				fill(out[right:], black)
				inside := out[left:right]
				inside = inside[:len(in)]
				for i, v := range in {
					inside[i] = table[v]
				}
			}
		}
	}
}

func fill(s []float32, v float32) {
	for i := range s {
		s[i] = v
	}
}

// mixing is one batch's draw. Image i is mixed with image n-1-i: the partner is
// the batch in reverse order.
type mixing struct {
	lambda float64 // weight of the image's own target, 1: the batch is not mixed
	cut    bool    // CutMix: box comes from the partner; else mixup: lambda*own + (1-lambda)*partner
	box    box
}

// box is a part of an image, y0 <= y < y1 and x0 <= x < x1.
type box struct{ y0, y1, x0, x1 int }

func (a *Augment) drawMixing(s *random.Stream, spec *Spec) mixing {
	none := mixing{lambda: 1}
	if a.Mixup == 0 && a.CutMix == 0 || s.Float64() >= a.MixProb {
		return none
	}
	cut := a.CutMix > 0
	if cut && a.Mixup > 0 {
		cut = s.Float64() < a.SwitchProb
	}
	alpha := a.Mixup
	if cut {
		alpha = a.CutMix
	}
	lambda := distuv.Beta{Alpha: alpha, Beta: alpha, Src: s.Source()}.Rand()
	if math.IsNaN(lambda) {
		// Both of its gamma variates underflowed: alpha is so small that
		// Beta is 0 or 1, and a batch is then the same set of images.
		return none
	}
	if !cut {
		return mixing{lambda: lambda}
	}
	b := cutBox(spec.Height, spec.Width, lambda, s.IntN(spec.Height), s.IntN(spec.Width))
	return mixing{lambda: boxLambda(b, spec.Height, spec.Width), cut: true, box: b}
}

// cutBox is the box of CutMix with its centre at (y, x) and a share of 1-lambda
// of the image, clipped to the image (timm's rand_bbox).
func cutBox(h, w int, lambda float64, y, x int) box {
	ratio := math.Sqrt(1 - lambda)
	ch, cw := int(float64(h)*ratio), int(float64(w)*ratio)
	return box{
		y0: max(0, y-ch/2), y1: min(h, y+(ch+1)/2),
		x0: max(0, x-cw/2), x1: min(w, x+(cw+1)/2),
	}
}

// boxLambda is lambda corrected for what clipping took from the box.
func boxLambda(b box, h, w int) float64 {
	return 1 - float64((b.y1-b.y0)*(b.x1-b.x0))/float64(h*w)
}

// mixImages mixes a batch of n images in place. In a batch of odd size the
// image in the middle is its own partner and stays as it is.
func (m mixing) mixImages(images []float32, n int, spec *Spec) {
	if m.lambda == 1 {
		return
	}
	size := spec.pixels()
	for i := range n / 2 {
		a := images[i*size:][:size]
		b := images[(n-1-i)*size:][:size]
		if m.cut {
			swapBox(a, b, m.box, spec)
		} else {
			blend(a, b, float32(m.lambda), float32(1-m.lambda))
		}
	}
}

// blend mixes two images with each other.
func blend(a, b []float32, l, r float32) {
	b = b[:len(a)]
	for i, x := range a {
		y := b[i]
		// Rounding each product keeps machines with a fused multiply-add
		// from giving other numbers.
		a[i] = float32(x*l) + float32(y*r)
		b[i] = float32(y*l) + float32(x*r)
	}
}

func swapBox(a, b []float32, cut box, spec *Spec) {
	for c := range spec.Channels {
		for y := cut.y0; y < cut.y1; y++ {
			row := (c*spec.Height + y) * spec.Width
			ra, rb := a[row+cut.x0:row+cut.x1], b[row+cut.x0:row+cut.x1]
			for i := range ra {
				ra[i], rb[i] = rb[i], ra[i]
			}
		}
	}
}

// mixTargets writes the soft targets of a batch, len(labels) x classes: smoothed
// one-hot rows mixed as the images are (timm's mixup_target).
func mixTargets(dst []float32, labels []int32, classes int, lambda, smoothing float64) {
	off := float32(smoothing / float64(classes))
	on := float32(1 - smoothing + smoothing/float64(classes))
	l, r := float32(lambda), float32(1-lambda)
	neither, own := float32(off*l)+float32(off*r), float32(on*l)+float32(off*r)
	other, both := float32(off*l)+float32(on*r), float32(on*l)+float32(on*r)
	for i, label := range labels {
		partner := labels[len(labels)-1-i]
		row := dst[i*classes:][:classes]
		fill(row, neither)
		if label == partner {
			row[label] = both
		} else {
			row[label], row[partner] = own, other
		}
	}
}

package kernels

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Patches makes the input of the patch embedding, nn.Patchify, straight from
// the pixels of a batch: it normalises, erases and mixes images as package
// datasets does, and lays out the patches of images First to First+B-1. Images
// are mixed within groups of Group images, of which the last of the batch may
// have fewer: image i of a group of n with image n-1-i.
type Patches struct {
	T                     DType
	Batch, First, B       int
	Group                 int // at least 1; with Mix
	Channels, Size, Patch int // Channels at most 4

	Y      Buffer // [B, (Size/Patch)², Channels Patch²] of T
	Pixels Buffer // [Batch, Channels, Size, Size] uint8; or, without it,
	Images Buffer // the same of float32, normalised, erased and mixed already

	Mean, Std []float64 // of each channel, of pixels from 0 to 1; with Pixels
	Erase     Buffer    // [Batch] of Erase; optional; with Pixels
	Mix       Buffer    // a Mix of each group; optional; with Pixels
}

// Launch returns the launch of the kernel.
func (k Patches) Launch() Launch {
	const threads = 256
	vec := 1
	if k.Patch%4 == 0 {
		vec = 4
	}
	source, kernel := k.Images, "patches_float"
	args := []Arg{Ptr(k.Y), Ptr(source)}
	if !k.Pixels.IsNull() {
		kernel = "patches"
		args = []Arg{Ptr(k.Y), Ptr(k.Pixels), Ptr(k.Erase), Ptr(k.Mix)}
	}
	args = append(args, I32(k.Batch))
	if !k.Pixels.IsNull() {
		args = append(args, I32(max(1, k.Group)))
	}
	args = append(args, I32(k.First), I32(k.Channels), I32(k.Size), I32(k.Patch))
	if !k.Pixels.IsNull() {
		for c := range 4 {
			scale, shift := 0.0, 0.0
			if c < k.Channels {
				scale, shift = 1/(255*k.Std[c]), -k.Mean[c]/k.Std[c]
			}
			args = append(args, Float(scale), Float(shift))
		}
	}
	l := launch(fmt.Sprintf("%s_x%d", kernel, vec), k.T, 0, threads, args...)
	l.Grid = dim(ceil(k.Channels*k.Size*k.Size/vec, threads), k.B)
	return l
}

// Mix is one group's draw of mixup or CutMix. Its fields are those of
// datasets.Mix, so that one converts to the other.
type Mix struct {
	Lambda, Rest   float32 // weights of an image and of its partner; Rest 0: the group is not mixed
	Cut            bool    // CutMix: the box comes from the partner; else mixup
	Y0, Y1, X0, X1 int     // the box: y0 <= y < y1, x0 <= x < x1
}

// MixBytes is the size of a Mix on the device.
const MixBytes = 32

// Put writes the mix as the device reads it.
func (m Mix) Put(b []byte) {
	cut := 0
	if m.Cut {
		cut = 1
	}
	clear(b[:MixBytes])
	binary.LittleEndian.PutUint32(b, math.Float32bits(m.Lambda))
	binary.LittleEndian.PutUint32(b[4:], math.Float32bits(m.Rest))
	for i, v := range []int{cut, m.Y0, m.Y1, m.X0, m.X1} {
		binary.LittleEndian.PutUint32(b[8+4*i:], uint32(v))
	}
}

// Erase is the box of one image that random erasing fills with noise after
// normalisation: the pixel at (c, y, x) becomes number (c Size + y) Size + x of
// random.FillNormal under Key. Its fields are those of datasets.Erase.
type Erase struct {
	Y0, Y1, X0, X1 int32  // the box: y0 <= y < y1, x0 <= x < x1
	Key            uint64 // 0: nothing is erased
}

// EraseBytes is the size of an Erase on the device.
const EraseBytes = 24

// Put writes the box as the device reads it.
func (e Erase) Put(b []byte) {
	for i, v := range []int32{e.Y0, e.Y1, e.X0, e.X1} {
		binary.LittleEndian.PutUint32(b[4*i:], uint32(v))
	}
	binary.LittleEndian.PutUint64(b[16:], e.Key)
}

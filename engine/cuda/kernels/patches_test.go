//go:build gpu

package kernels_test

import (
	"fmt"
	"testing"

	"hatchery/engine/cuda/kernels"
	"hatchery/engine/cuda/rounding"
	"hatchery/engine/nn"
	"hatchery/engine/random"
)

// picture is a batch of pixels and what becomes of it, one pixel at a time.
type picture struct {
	batch, channels, size int
	pixels                []uint8
	mean, std             []float64
	erase                 []kernels.Erase
	group                 int           // images that are mixed with one another
	mixes                 []kernels.Mix // of each group
}

// own returns a pixel of an image, normalised and erased.
func (p *picture) own(image, c, y, x int) float64 {
	i := (c*p.size+y)*p.size + x
	e := p.erase[image]
	if e.Key != 0 && y >= int(e.Y0) && y < int(e.Y1) && x >= int(e.X0) && x < int(e.X1) {
		var z [1]float32
		random.FillNormal(z[:], e.Key, uint64(i))
		return float64(z[0])
	}
	return (float64(p.pixels[image*p.channels*p.size*p.size+i])/255 - p.mean[c]) / p.std[c]
}

// partners lists who is mixed with whom: each group in reverse order.
func partners(batch, group int) []int {
	var list []int
	for first := 0; first < batch; first += group {
		for i := min(first+group, batch) - 1; i >= first; i-- {
			list = append(list, i)
		}
	}
	return list
}

// mixed returns a pixel of an image mixed with its partner.
func (p *picture) mixed(image, c, y, x int) float64 {
	partner, m := partners(p.batch, p.group)[image], p.mixes[image/p.group]
	switch {
	case m.Rest == 0 || partner == image:
		return p.own(image, c, y, x)
	case !m.Cut:
		return float64(m.Lambda)*p.own(image, c, y, x) + float64(m.Rest)*p.own(partner, c, y, x)
	case y >= m.Y0 && y < m.Y1 && x >= m.X0 && x < m.X1:
		return p.own(partner, c, y, x)
	}
	return p.own(image, c, y, x)
}

func (p *picture) images() []float64 {
	var v []float64
	for image := range p.batch {
		for c := range p.channels {
			for y := range p.size {
				for x := range p.size {
					v = append(v, p.mixed(image, c, y, x))
				}
			}
		}
	}
	return v
}

// pixel is the error of a normalised pixel, v scale + shift: both factors are
// rounded, and v scale and shift are up to 4.4 and 2.2 where pixels come to about
// 1. Mixing takes three more roundings. It covers noise, sqrt(-2 log u) cos(2πv),
// whose functions err by 4.5 ulp together.
var pixel = rounding.Units(4.4+2.2+1+3) + rounding.Log/2 + rounding.SinCos + rounding.Units(3)

func TestPatches(t *testing.T) {
	unmixed := kernels.Mix{Lambda: 1}
	mixup := kernels.Mix{Lambda: 0.3, Rest: 0.7}
	cutmix := kernels.Mix{Lambda: 0.8, Rest: 0.2, Cut: true, Y0: 2, Y1: 7, X0: 1, X1: 6}
	draws := []struct { // of the groups, again and again
		group int // 0: the batch
		mixes []kernels.Mix
	}{
		{0, []kernels.Mix{unmixed}}, {0, []kernels.Mix{mixup}}, {0, []kernels.Mix{cutmix}},
		{2, []kernels.Mix{mixup, cutmix, unmixed}}, {3, []kernels.Mix{cutmix, mixup}},
	}
	on(t, func(d *device) {
		for _, s := range []struct{ batch, channels, size, patch int }{{1, 1, 4, 2}, {5, 3, 8, 4}, {4, 1, 32, 4}, {3, 3, 32, 16}, {4, 3, 28, 14}, {2, 4, 12, 3}} {
			stream := random.New(1, "pixels")
			p := &picture{batch: s.batch, channels: s.channels, size: s.size,
				pixels: make([]uint8, s.batch*s.channels*s.size*s.size),
				mean:   []float64{0.485, 0.456, 0.406, 0.5}[:s.channels], std: []float64{0.229, 0.224, 0.225, 0.25}[:s.channels]}
			for i := range p.pixels {
				p.pixels[i] = uint8(stream.Uint32())
			}
			var erase []byte
			for i := range s.batch {
				e := kernels.Erase{Y0: 1, Y1: 3 + int32(i), X0: int32(i), X1: int32(s.size) - 1, Key: stream.Uint64() | 1}
				if i == 1 {
					e.Key = 0
				}
				p.erase = append(p.erase, e)
				erase = append(erase, littleEndian(e.Put, kernels.EraseBytes)...)
			}
			n := len(p.pixels)
			layout := nn.Patchify{B: s.batch, Channels: s.channels, Size: s.size, Patch: s.patch}
			for _, draw := range draws {
				p.group, p.mixes = draw.group, nil
				if p.group == 0 {
					p.group = s.batch
				}
				var mixes []byte
				for i := 0; i < s.batch; i += p.group {
					m := draw.mixes[i/p.group%len(draw.mixes)]
					p.mixes = append(p.mixes, m)
					mixes = append(mixes, littleEndian(m.Put, kernels.MixBytes)...)
				}
				for _, dt := range dtypes {
					d.free()
					name := fmt.Sprintf("%+v in groups of %d %+v", s, p.group, draw.mixes)
					images := roundAll(kernels.F32, p.images())
					want := d.twin(layout, []int{n}, images)[0]
					k := kernels.Patches{T: dt, Batch: s.batch, B: s.batch, Group: p.group, Channels: s.channels, Size: s.size, Patch: s.patch,
						Y: d.out(dt, n), Pixels: put(d, p.pixels), Mean: p.mean, Std: p.std,
						Erase: put(d, erase), Mix: put(d, mixes)}
					d.run(k.Launch())
					whole := d.load(dt, k.Y, n)
					d.near(name, whole, want, stored(dt)+pixel)

					// A micro-batch is a part of the batch: partners are in the rest.
					if s.batch > 1 {
						part := k
						part.First, part.B = 1, s.batch-1
						d.run(part.Launch())
						image := n / s.batch
						d.same(name+": all images but the first", d.load(dt, k.Y, n-image), whole[image:])
					}

					float := k
					float.Pixels, float.Mean, float.Std = kernels.Buffer{}, nil, nil
					float.Images = d.store(kernels.F32, images)
					d.run(float.Launch())
					d.same(name+" from finished images", d.load(dt, k.Y, n), roundAll(dt, want))

					plain := k
					plain.Erase, plain.Mix = kernels.Buffer{}, kernels.Buffer{}
					d.run(plain.Launch())
					q := *p
					q.erase, q.mixes = make([]kernels.Erase, s.batch), make([]kernels.Mix, len(p.mixes))
					d.near(name+" without draws", d.load(dt, k.Y, n), d.twin(layout, []int{n}, q.images())[0], stored(dt)+pixel)
				}
			}
		}
	})
}

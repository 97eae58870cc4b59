//go:build gpu

package kernels_test

import (
	"fmt"
	"testing"

	"hatchery/engine/cuda/kernels"
	"hatchery/engine/cuda/rounding"
	"hatchery/engine/nn"
)

// Samples, patches and channels; 3 tokens of 4 and 4 tokens of 3 channels have
// rows of whole vectors, the latter with a class token that is none.
var sequences = []nn.TokensForward{{B: 1, N: 1, C: 1}, {B: 3, N: 2, C: 4}, {B: 3, N: 3, C: 3}, {B: 2, N: 16, C: 192}, {B: 37, N: 4, C: 45}, {B: 5, N: 9, C: 540}}

func TestTokens(t *testing.T) {
	on(t, func(d *device) {
		for _, s := range sequences {
			for _, dt := range dtypes {
				d.free()
				name := fmt.Sprintf("%+v", s)
				n, width := s.B*s.N*s.C, (s.N+1)*s.C
				x, cls, pos := noise(dt, "x", n), noise(kernels.F32, "cls", s.C), noise(kernels.F32, "pos", width)
				y := d.out(dt, s.B*width)
				d.run(kernels.Tokens(dt, s.B, s.N, s.C, y, d.store(dt, x), d.store(kernels.F32, cls), d.store(kernels.F32, pos)))
				want := d.twin(s, []int{s.B * width}, x, cls, pos)[0]
				d.near(name, d.load(dt, y, s.B*width), want, stored(dt))
			}
		}
	})
}

func TestTokensBackward(t *testing.T) {
	on(t, func(d *device) {
		for _, s := range sequences {
			for _, dt := range dtypes {
				d.free()
				name := fmt.Sprintf("%+v", s)
				n, width := s.B*s.N*s.C, (s.N+1)*s.C
				dy := noise(dt, "dy", s.B*width)
				want := d.twin(nn.TokensBackward(s), []int{n, s.C, width}, dy)
				k := kernels.TokensBackward{T: dt, B: s.B, N: s.N, C: s.C, DY: d.store(dt, dy),
					DX: d.out(dt, n), DCls: d.out(kernels.F32, s.C), DPos: d.out(kernels.F32, width)}
				k.Scratch = d.alloc(k.ScratchBytes())
				d.run(k.Launches()...)
				dcls, dpos := d.load(kernels.F32, k.DCls, s.C), d.load(kernels.F32, k.DPos, width)
				d.same(name+": dx", d.load(dt, k.DX, n), want[0])
				d.near(name+": dcls", dcls, want[1], rounding.Sum(s.B))
				d.near(name+": dpos", dpos, want[2], rounding.Sum(s.B))

				k.Accumulate = true
				d.run(k.Launches()...)
				d.same(name+": accumulated dcls", d.load(kernels.F32, k.DCls, s.C), plus(dcls, dcls))
				d.same(name+": accumulated dpos", d.load(kernels.F32, k.DPos, width), plus(dpos, dpos))

				frozen := kernels.TokensBackward{T: dt, B: s.B, N: s.N, C: s.C, DY: k.DY, DX: d.out(dt, n)}
				d.run(frozen.Launches()...)
				d.same(name+": dx alone", d.load(dt, frozen.DX, n), want[0])
				first := k
				first.DX, first.DPos, first.Accumulate = kernels.Buffer{}, kernels.Buffer{}, false
				d.run(first.Launches()...)
				d.same(name+": dcls alone", d.load(kernels.F32, k.DCls, s.C), dcls)
			}
		}
	})
}

func TestClassToken(t *testing.T) {
	on(t, func(d *device) {
		for _, s := range sequences {
			for _, dt := range dtypes {
				d.free()
				name := fmt.Sprintf("%+v", s)
				k := nn.ClassToken(s)
				n := s.B * s.N * s.C
				x, dy := noise(dt, "x", n), noise(dt, "dy", s.B*s.C)
				y, dx := d.out(dt, s.B*s.C), d.out(dt, n)
				d.run(kernels.ClassToken(dt, s.B, s.N, s.C, y, d.store(dt, x)), kernels.ClassTokenBackward(dt, s.B, s.N, s.C, dx, d.store(dt, dy)))
				d.same(name+": y", d.load(dt, y, s.B*s.C), d.twin(k, []int{s.B * s.C}, x)[0])
				d.same(name+": dx", d.load(dt, dx, n), d.twin(nn.ClassTokenBackward(k), []int{n}, dy)[0])
			}
		}
	})
}

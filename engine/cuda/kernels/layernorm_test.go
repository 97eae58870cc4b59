//go:build gpu

package kernels_test

import (
	"fmt"
	"testing"

	"hatchery/engine/cuda/kernels"
	"hatchery/engine/cuda/rounding"
	"hatchery/engine/nn"
)

// widths are those of real networks (with ViT-B-DN's 540 and a narrow one), and
// some that no instance with vectors takes.
var widths = []int{48, 192, 540, 768, 1024, 1280, 7, 1281, 1536}

// statistics returns the error of 1/deviation: that of a sum of squares of three
// roundings each, of which a root takes half, and of the root itself. That of the
// mean is small beside it where the numbers are spread around 0.
func statistics(width int) float64 {
	return (rounding.Sum(width)+rounding.Units(3))/2 + rounding.Rsqrt
}

// Of the gradient of a LayerNorm: dx = (e - Σe/width - h Σeh/width) / deviation
// with e = dy gamma and h normalised, each sum an error of one unit of e, and
// eight further roundings.
var dx = rounding.Units(10)

// dgamma returns the error of the sum of dy h over rows, where h and dy h take three
// roundings.
func dgamma(rows int) float64 { return rounding.Sum(rows) + rounding.Units(3) }

func TestLayerNorm(t *testing.T) {
	const eps = 1e-2 // one that counts beside a variance of 1
	on(t, func(d *device) {
		for _, width := range widths {
			for _, rows := range []int{1, 37} {
				if rows == 1 && width > 48 {
					continue
				}
				for _, dt := range dtypes {
					d.free()
					n := rows * width
					name := fmt.Sprintf("%dx%d", rows, width)
					x := noise(dt, "x", n)
					gamma, beta := noise(kernels.F32, "gamma", width), noise(kernels.F32, "beta", width)
					k := kernels.LayerNorm{T: dt, Rows: rows, Width: width, Eps: eps,
						X: d.store(dt, x), Gamma: d.store(kernels.F32, gamma), Beta: d.store(kernels.F32, beta),
						Y: d.out(dt, n), Stats: d.out(kernels.F32, 2*rows)}
					d.run(k.Launch())
					want := d.twin(nn.LayerNormForward{M: rows, N: width, Eps: eps}, []int{n, 2 * rows}, x, gamma, beta)
					y, stats := d.load(dt, k.Y, n), d.load(kernels.F32, k.Stats, 2*rows)
					// x - mean, times 1/deviation, times gamma, plus beta; and the mean.
					d.near(name+": y", y, want[0], stored(dt)+statistics(width)+rounding.Units(5))
					d.near(name+": stats", stats, want[1], statistics(width)+rounding.Units(1))

					again := k
					again.Y, again.Stats = kernels.Buffer{}, d.out(kernels.F32, 2*rows)
					d.run(again.Launch())
					d.same(name+": statistics alone", d.load(kernels.F32, again.Stats, 2*rows), stats)
				}
			}
		}
	})
}

// TestResidualLayerNormEqualsTwoKernels wants the same bits from the fused kernel.
func TestResidualLayerNormEqualsTwoKernels(t *testing.T) {
	const samples, tokens = 5, 7
	const rows = samples * tokens
	on(t, func(d *device) {
		for _, width := range widths {
			for _, dt := range dtypes {
				for _, drop := range []bool{false, true} {
					d.free()
					n := rows * width
					name := fmt.Sprintf("%d, drop path %v", width, drop)
					x, f := noise(dt, "x", n), noise(dt, "f", n)
					k := kernels.LayerNorm{T: dt, Rows: rows, Width: width, Eps: 1e-5,
						X: d.store(dt, x), Branch: d.store(dt, f), Sum: d.out(dt, n),
						Gamma: put(d, narrow(noise(kernels.F32, "gamma", width))), Beta: put(d, narrow(noise(kernels.F32, "beta", width))),
						Y: d.out(dt, n), Stats: d.out(kernels.F32, 2*rows)}
					if drop {
						k.Scale, k.RowsPerSample = put(d, narrow(drops(samples))), tokens
					}
					sum := d.out(dt, n)
					plain := kernels.LayerNorm{T: dt, Rows: rows, Width: width, Eps: 1e-5, X: sum, Gamma: k.Gamma, Beta: k.Beta,
						Y: d.out(dt, n), Stats: d.out(kernels.F32, 2*rows)}
					d.run(k.Launch(), kernels.Residual(dt, samples, tokens*width, sum, k.X, k.Branch, k.Scale), plain.Launch())
					d.same(name+": sums", d.load(dt, k.Sum, n), d.load(dt, sum, n))
					d.same(name+": y", d.load(dt, k.Y, n), d.load(dt, plain.Y, n))
					d.same(name+": statistics", d.load(kernels.F32, k.Stats, 2*rows), d.load(kernels.F32, plain.Stats, 2*rows))

					k.Sum = k.X
					d.run(k.Launch())
					d.same(name+": sum in the place of x", d.load(dt, k.X, n), d.load(dt, sum, n))
					d.same(name+": y of it", d.load(dt, k.Y, n), d.load(dt, plain.Y, n))
				}
			}
		}
	})
}

func TestLayerNormBackward(t *testing.T) {
	on(t, func(d *device) {
		for _, width := range widths {
			for _, shape := range []struct{ samples, tokens int }{{1, 1}, {5, 7}} {
				if shape.samples == 1 && width > 48 {
					continue
				}
				for _, dt := range dtypes {
					d.free()
					samples, tokens := shape.samples, shape.tokens
					rows := samples * tokens
					n := rows * width
					name := fmt.Sprintf("%dx%d", rows, width)
					x, dy, skip := noise(dt, "x", n), noise(dt, "dy", n), noise(dt, "skip", n)
					gamma, beta := noise(kernels.F32, "gamma", width), make([]float64, width)
					scale := drops(samples)
					stats := d.twin(nn.LayerNormForward{M: rows, N: width, Eps: 1e-6}, []int{0, 2 * rows}, x, gamma, beta)[1]
					stats = roundAll(kernels.F32, stats)
					want := d.twin(nn.LayerNormBackward{M: rows, N: width}, []int{n, width, width}, x, gamma, dy, stats)

					k := kernels.LayerNormBackward{T: dt, Rows: rows, Width: width,
						X: d.store(dt, x), DY: d.store(dt, dy), Stats: d.store(kernels.F32, stats), Gamma: d.store(kernels.F32, gamma),
						DX: d.out(dt, n), DGamma: d.out(kernels.F32, width), DBeta: d.out(kernels.F32, width)}
					k.Scratch = d.alloc(k.ScratchBytes())
					d.run(k.Launches()...)
					dg, db := d.load(kernels.F32, k.DGamma, width), d.load(kernels.F32, k.DBeta, width)
					d.near(name+": dx", d.load(dt, k.DX, n), want[0], stored(dt)+dx)
					d.near(name+": dgamma", dg, want[1], dgamma(rows))
					d.near(name+": dbeta", db, want[2], rounding.Sum(rows))

					k.Accumulate = true
					d.run(k.Launches()...)
					d.same(name+": accumulated dgamma", d.load(kernels.F32, k.DGamma, width), plus(dg, dg))
					d.same(name+": accumulated dbeta", d.load(kernels.F32, k.DBeta, width), plus(db, db))

					fused := k
					fused.Accumulate = false
					fused.Residual, fused.DBranch, fused.Scale, fused.RowsPerSample = d.store(dt, skip), d.out(dt, n), d.store(kernels.F32, scale), tokens
					d.run(fused.Launches()...)
					added := d.load(dt, k.DX, n)
					d.near(name+": dx with residual", added, plus(want[0], skip), stored(dt)+dx)
					branch := make([]float64, n)
					for i := range branch {
						branch[i] = round(dt, added[i]*scale[i/(tokens*width)])
					}
					d.same(name+": gradients of the branch", d.load(dt, fused.DBranch, n), branch)
					d.same(name+": dgamma, fused", d.load(kernels.F32, k.DGamma, width), dg)

					frozen := fused
					frozen.DX, frozen.DGamma, frozen.DBeta = fused.Residual, kernels.Buffer{}, kernels.Buffer{}
					d.run(frozen.Launches()...)
					d.same(name+": dx of a frozen layer in the place of the residual", d.load(dt, frozen.DX, n), added)

					first := k
					first.Accumulate, first.DX = false, kernels.Buffer{}
					d.run(first.Launches()...)
					d.same(name+": dgamma alone", d.load(kernels.F32, k.DGamma, width), dg)
				}
			}
		}
	})
}

// TestLayerNormBackwardOfManyRows has more rows than the grid takes at once.
func TestLayerNormBackwardOfManyRows(t *testing.T) {
	const width = 48
	rows := 2*132*(256/8) + 53
	on(t, func(d *device) {
		n := rows * width
		x, dy, gamma := noise(kernels.BF16, "x", n), noise(kernels.BF16, "dy", n), noise(kernels.F32, "gamma", width)
		stats := roundAll(kernels.F32, d.twin(nn.LayerNormForward{M: rows, N: width, Eps: 1e-6}, []int{0, 2 * rows}, x, gamma, gamma)[1])
		want := d.twin(nn.LayerNormBackward{M: rows, N: width}, []int{n, width, width}, x, gamma, dy, stats)
		k := kernels.LayerNormBackward{T: kernels.BF16, Rows: rows, Width: width,
			X: d.store(kernels.BF16, x), DY: d.store(kernels.BF16, dy), Stats: d.store(kernels.F32, stats), Gamma: d.store(kernels.F32, gamma),
			DX: d.out(kernels.BF16, n), DGamma: d.out(kernels.F32, width), DBeta: d.out(kernels.F32, width)}
		k.Scratch = d.alloc(k.ScratchBytes())
		d.run(k.Launches()...)
		d.near("dx", d.load(kernels.BF16, k.DX, n), want[0], stored(kernels.BF16)+dx)
		d.near("dgamma", d.load(kernels.F32, k.DGamma, width), want[1], dgamma(rows))
		d.near("dbeta", d.load(kernels.F32, k.DBeta, width), want[2], rounding.Sum(rows))
	})
}

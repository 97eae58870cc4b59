package gemm

import (
	"fmt"
	"testing"

	"hatchery/engine/cpu/isa"
	"hatchery/engine/random"
)

// shapes are products of a training step of DeiT-Tiny: 32x32 images, patches of 4, 64 images a batch.
var shapes = []struct {
	name           string
	m, n, k        int
	transA, transB bool
}{
	{"qkv", 4160, 576, 192, false, false},
	{"proj", 4160, 192, 192, false, false},
	{"fc1", 4160, 768, 192, false, false},
	{"fc2", 4160, 192, 768, false, false},
	{"qkv-dx", 4160, 192, 576, false, true},
	{"fc1-dx", 4160, 192, 768, false, true},
	{"fc2-dx", 4160, 768, 192, false, true},
	{"qkv-dw", 192, 576, 4160, true, false},
	{"proj-dw", 192, 192, 4160, true, false},
	{"fc1-dw", 192, 768, 4160, true, false},
	{"fc2-dw", 768, 192, 4160, true, false},
	{"attention-qk", 65, 65, 64, false, true},
	{"attention-av", 65, 64, 65, false, false},
	{"attention-dv", 65, 64, 65, true, false},
	{"square", 1024, 1024, 1024, false, false},
}

// BenchmarkProduct skips large products without assembly, which take seconds each and show
// nothing new.
func BenchmarkProduct(b *testing.B) {
	const large = 1 << 27 // multiply-accumulates
	for _, s := range shapes {
		for l := isa.Go; l <= isa.Best(); l++ {
			if l == isa.Go && s.m*s.n*s.k > large {
				continue
			}
			b.Run(fmt.Sprintf("%s/%v", s.name, l), func(b *testing.B) {
				atLevel(b, l, func() {
					p := newProblem(random.New(1, "bench"), s.m, s.n, s.k, s.transA, s.transB, 0, 0)
					plan, err := New(p.Shape, 1)
					if err != nil {
						b.Fatal(err)
					}
					scratch := make([]float32, plan.Scratch())
					b.ReportAllocs()
					for b.Loop() {
						plan.Run(serial{}, scratch, p.op)
					}
					b.ReportMetric(2*float64(s.m)*float64(s.n)*float64(s.k)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
				})
			})
		}
	}
}

// BenchmarkRoof measures the most that a core can do: it repeats one tile with all its data
// in the L1 cache.
func BenchmarkRoof(b *testing.B) {
	for l := isa.AVX2; l <= isa.Best(); l++ {
		b.Run(l.String(), func(b *testing.B) {
			const k = 256
			kn := &kernels[l]
			width, rows := kn.wide*kn.lanes, kn.rows[kn.wide]
			x := numbers(random.New(1, "bench"), k*width)
			y := make([]float32, rows*width)
			for b.Loop() {
				g := tileArgs{
					a: at(x, 0), rsa: 4 * k, csa: 4, b: at(x, 0), rsb: uintptr(4 * width), c: at(y, 0), rsc: uintptr(4 * width), d: at(y, 0),
					k: k, rows: rows, tiles: 1, last: kn.lanes, alpha: 1,
				}
				tiles(l, kn.wide, &g)
			}
			b.ReportMetric(2*k*float64(rows*width)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}

package cpu

import (
	"fmt"
	"math"
	"testing"

	"hatchery/engine/cpu/reference"
	"hatchery/engine/graph"
	"hatchery/engine/nn"
	"hatchery/engine/random"
)

// losses has every loss, with the number of its outputs' elements, over b rows.
func losses(b, classes int) []call {
	n := b * classes
	return []call{
		{nn.CrossEntropyForward{B: b, Classes: classes}, []int{n, n}, []int{1}},
		{nn.CrossEntropyBackward{B: b, Classes: classes}, []int{n, n, 1}, []int{n}},
		{nn.L1Forward{N: n}, []int{n, n}, []int{1}},
		{nn.L1Backward{N: n}, []int{n, n, 1}, []int{n}},
		{nn.Score{B: b, Classes: classes}, []int{n, n}, []int{b, b}},
	}
}

// TestLossesAreTheReference: losses on any number of threads are those of package
// reference, bit for bit, also where a row holds what is not finite.
func TestLossesAreTheReference(t *testing.T) {
	r := random.New(9, "losses")
	for _, s := range [][2]int{{1, 1}, {3, 10}, {100, 10}, {64, 100}, {257, 128}, {70, 1000}} {
		for _, c := range losses(s[0], s[1]) {
			var in, want [][]float32
			for _, n := range c.in {
				x := make([]float32, n)
				for i := range x {
					x[i] = float32(3 * r.NormFloat64())
				}
				in = append(in, x)
			}
			for _, n := range c.out {
				want = append(want, make([]float32, n))
			}
			check := func() {
				t.Helper()
				plain, err := reference.Bind(c.kernel, want, in)
				if err != nil {
					t.Fatal(err)
				}
				plain()
				for _, threads := range []int{1, 2, 3, 7} {
					for skip := -1; skip < len(want); skip++ {
						if skip >= 0 && len(want) == 1 {
							continue
						}
						sameLoss(t, c.kernel, threads, skip, in, want)
					}
				}
			}
			check()
			if b, classes := s[0], s[1]; b > 2 && len(in) == 2 {
				// Two rows that cancel each other, so far apart that the sum tells in which
				// order it was taken.
				other := b / 2 * classes
				copy(in[0][other:], in[0][:classes])
				for i := range classes {
					in[1][i] *= 0x1p50
					in[1][other+i] = -in[1][i]
				}
				check()
			}
			if len(in[0]) > 20 {
				in[0][3], in[0][7] = float32(math.NaN()), float32(math.Inf(1))
				in[0][len(in[0])-1], in[1][2] = float32(math.Inf(-1)), in[0][2]
				check()
			}
		}
	}
}

// sameLoss compares the outputs of a loss except the one that skip says.
func sameLoss(t *testing.T, k graph.Kernel, threads, skip int, in, want [][]float32) {
	t.Helper()
	pool := NewPool(threads)
	defer pool.Close()
	var got [][]float32
	for i, w := range want {
		if i == skip {
			got = append(got, nil)
			continue
		}
		got = append(got, make([]float32, len(w)))
	}
	run, err := bind(k, got, in, pool, new(scratch))
	if err != nil {
		t.Fatal(err)
	}
	run()
	for i, out := range got {
		for j, g := range out {
			if w := want[i][j]; math.Float32bits(g) != math.Float32bits(w) {
				t.Fatalf("%+v on %d threads: output %d at %d is %v, want %v", k, threads, i, j, g, w)
			}
		}
	}
}

func BenchmarkLosses(b *testing.B) {
	for _, classes := range []int{128, 1000} {
		for _, c := range losses(128, classes) {
			var in, out [][]float32
			for _, n := range c.in {
				x := make([]float32, n)
				for i := range x {
					x[i] = float32(i%17)/8 - 1
				}
				in = append(in, x)
			}
			for _, n := range c.out {
				out = append(out, make([]float32, n))
			}
			for _, threads := range []int{1, 2} {
				b.Run(fmt.Sprintf("%s/classes=%d/threads=%d", c.kernel.Name(), classes, threads), func(b *testing.B) {
					pool := NewPool(threads)
					defer pool.Close()
					run, err := bind(c.kernel, out, in, pool, new(scratch))
					if err != nil {
						b.Fatal(err)
					}
					b.ReportAllocs()
					for b.Loop() {
						run()
					}
				})
			}
		}
	}
}

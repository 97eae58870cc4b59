//go:build gpu

package kernels_test

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"

	"hatchery/engine/cuda/emulation"
	"hatchery/engine/cuda/kernels"
	"hatchery/engine/nn"
)

// Every kernel, at the sequences and heads of the presets and at the edges of
// the tiles.
func TestAttention(t *testing.T) {
	for _, s := range []struct{ b, h, n, d int }{
		{2, 2, 17, 16}, {1, 2, 17, 64}, {2, 1, 50, 64}, {1, 2, 65, 16}, {1, 2, 65, 45}, {1, 2, 65, 60}, {2, 3, 65, 64}, {1, 1, 80, 64},
		{2, 2, 50, 80}, {1, 1, 65, 96}, {1, 1, 81, 64}, {1, 2, 197, 45}, {1, 1, 197, 60}, {1, 2, 197, 64}, {1, 1, 257, 80}, {1, 1, 129, 96},
	} {
		for _, dtype := range dtypes {
			t.Run(fmt.Sprintf("%d/%d/%v", s.n, s.d, dtype), func(t *testing.T) {
				testAttention(t, dtype, nn.AttentionForward{B: s.b, N: s.n, H: s.h, D: s.d}, 1)
			})
		}
	}
}

// The longest sequences of the presets, of images 384 and 392 pixels wide.
func TestAttentionLong(t *testing.T) {
	if testing.Short() {
		t.Skip("some seconds")
	}
	testAttention(t, kernels.BF16, nn.AttentionForward{B: 1, N: 577, H: 1, D: 64}, 1)
	testAttention(t, kernels.BF16, nn.AttentionForward{B: 1, N: 785, H: 1, D: 80}, 1)
}

// Scores up to about 150: the softmax must not overflow, and one step's maximum
// must not be another's.
func TestAttentionLargeScores(t *testing.T) {
	for _, n := range []int{65, 197} {
		testAttention(t, kernels.BF16, nn.AttentionForward{B: 1, N: n, H: 1, D: 64}, 6)
	}
}

// A single token attends to itself: out is v, and q and k have no gradient.
func TestAttentionOneToken(t *testing.T) {
	for _, d := range []int{16, 80} {
		testAttention(t, kernels.BF16, nn.AttentionForward{B: 2, N: 1, H: 2, D: d}, 1)
	}
}

// attentionRun is what the kernels gave.
type attentionRun struct{ out, lse, dqkv []float64 }

func runAttention(t *testing.T, dtype kernels.DType, k nn.AttentionForward, qkv, dout []float64) (r attentionRun) {
	t.Helper()
	on(t, func(d *device) {
		f := kernels.Attention{T: dtype, B: k.B, N: k.N, H: k.H, D: k.D,
			QKV: d.store(dtype, qkv), Out: d.out(dtype, len(dout)), LSE: d.alloc(4 * k.B * k.H * k.N)}
		d.run(f.Launch())
		r.out, r.lse = d.load(dtype, f.Out, len(dout)), widen(get[float32](d, f.LSE, k.B*k.H*k.N))

		b := kernels.AttentionBackward{T: dtype, B: k.B, N: k.N, H: k.H, D: k.D, QKV: f.QKV, Out: f.Out, LSE: f.LSE,
			DOut: d.store(dtype, dout), DQKV: d.out(dtype, len(qkv))}
		if n := b.ScratchBytes(); n > 0 {
			b.Scratch = d.alloc(n)
		}
		d.run(b.Launches()...)
		r.dqkv = d.load(dtype, b.DQKV, len(qkv))

		// Evaluation needs no lse.
		f.LSE, f.Out = kernels.Buffer{}, d.out(dtype, len(dout))
		d.run(f.Launch())
		d.same("out without lse", d.load(dtype, f.Out, len(dout)), r.out)
	})
	return r
}

// testAttention compares with the reference; spread is the deviation of q, k and v.
func testAttention(t *testing.T, dtype kernels.DType, k nn.AttentionForward, spread float64) {
	t.Helper()
	c := k.H * k.D
	dout, qkv := noise(dtype, "dout", k.B*k.N*c), noise(dtype, "qkv", k.B*k.N*3*c)
	for i := range qkv {
		qkv[i] = round(dtype, spread*qkv[i])
	}
	got := runAttention(t, dtype, k, qkv, dout)

	d := &device{T: t}
	d.near("out", dtype, got.out, d.twin(k, []int{len(dout)}, qkv)[0])
	d.near("lse", kernels.F32, got.lse, logSumExps(qkv, k))
	want := d.twin(nn.AttentionBackward(k), []int{len(qkv)}, qkv, dout)[0]
	for i, name := range []string{"dq", "dk", "dv"} {
		got, want := part(got.dqkv, c, i), part(want, c, i)
		if k.N > 1 || name == "dv" {
			d.near(name, dtype, got, want)
		} else if v := slices.MaxFunc(got, func(a, b float64) int { return cmp.Compare(math.Abs(a), math.Abs(b)) }); math.Abs(v) > 1e-5 || v != v {
			t.Errorf("%s of a single token has %g; its gradient is zero", name, v)
		}
	}

	if k.N > 300 && !emulation.Real() {
		return // shorter ones are run twice
	}
	t.Setenv("HATCHERY_EMULATION_ORDER", "backward")
	again := runAttention(t, dtype, k, qkv, dout)
	d.same("out in another order", again.out, got.out)
	d.same("lse in another order", again.lse, got.lse)
	d.same("dqkv in another order", again.dqkv, got.dqkv)
}

// part is one of q, k and v of [B*N, 3, C].
func part(x []float64, c, which int) (p []float64) {
	for at := which * c; at < len(x); at += 3 * c {
		p = append(p, x[at:at+c]...)
	}
	return p
}

// logSumExps is lse [B, H, N].
func logSumExps(x []float64, k nn.AttentionForward) (lse []float64) {
	c := k.H * k.D
	for b := range k.B {
		for h := range k.H {
			for i := range k.N {
				var sum float64
				for j := range k.N {
					var s float64
					for l := range k.D {
						s += x[(b*k.N+i)*3*c+h*k.D+l] * x[(b*k.N+j)*3*c+c+h*k.D+l]
					}
					sum += math.Exp(s / math.Sqrt(float64(k.D)))
				}
				lse = append(lse, math.Log(sum))
			}
		}
	}
	return lse
}

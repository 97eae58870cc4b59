//go:build gpu

package kernels_test

import (
	"fmt"
	"math"
	"testing"

	"hatchery/engine/cuda/emulation"
	"hatchery/engine/cuda/kernels"
	"hatchery/engine/cuda/rounding"
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
	defer d.report()
	inner := look(qkv, dout, k)
	limit := attentionLimits(dtype, k, inner)
	d.near("out", got.out, d.twin(k, []int{len(dout)}, qkv)[0], limit.out)
	d.near("lse", got.lse, inner.lse, limit.lse)
	want := d.twin(nn.AttentionBackward(k), []int{len(qkv)}, qkv, dout)[0]
	for i, name := range []string{"dq", "dk", "dv"} {
		got, want := part(got.dqkv, c, i), part(want, c, i)
		if k.N > 1 || name == "dv" {
			d.near(name, got, want, []float64{limit.dqk, limit.dqk, limit.dv}[i])
			continue
		}
		// dp is subtracted from itself, added up in another order.
		most := (rounding.Sum(k.D) + rounding.TensorSum(k.D)) * inner.products / math.Sqrt(float64(k.D)) * highest(qkv)
		if v := highest(got); !(v <= most) {
			t.Errorf("%s of a single token has %g, at most %g; its gradient is zero", name, v, most)
		}
	}

	// Once more: with the emulation's threads in another order, where shorter
	// sequences will do. A card has its own order, each time another one, and
	// takes a millisecond to show that nothing depends on it.
	if k.N > 300 && !emulation.OnCard() {
		return
	}
	t.Setenv("HATCHERY_EMULATION_ORDER", "backward")
	again := runAttention(t, dtype, k, qkv, dout)
	d.same("out in another order", again.out, got.out)
	d.same("lse in another order", again.lse, got.lse)
	d.same("dqkv in another order", again.dqkv, got.dqkv)
}

// insides are numbers of an attention and its gradient that its limits depend on.
type insides struct {
	lse      []float64 // [B, H, N]
	scores   float64   // greatest magnitude
	products float64   // greatest Σ |dout v| of a query and a key
	// subtracted is what the error of Σ p dp becomes in ds = p (dp - Σ p dp),
	// relative in norm, where each p dp and each of dout out is wrong by 1.
	subtracted float64
}

// look computes them in float64.
func look(x, dout []float64, k nn.AttentionForward) (in insides) {
	c := k.H * k.D
	p, dp := make([]float64, k.N), make([]float64, k.N)
	var wrong, right float64
	for b := range k.B {
		for h := range k.H {
			for i := range k.N {
				q, dy := x[(b*k.N+i)*3*c+h*k.D:][:k.D], dout[(b*k.N+i)*c+h*k.D:][:k.D]
				var sum float64
				out := make([]float64, k.D)
				for j := range k.N {
					key := x[(b*k.N+j)*3*c+c+h*k.D:][:k.D]
					v := x[(b*k.N+j)*3*c+2*c+h*k.D:][:k.D]
					s := dot(q, key) / math.Sqrt(float64(k.D))
					p[j], dp[j] = math.Exp(s), dot(dy, v)
					sum += p[j]
					var magnitude float64
					for l := range v {
						magnitude += math.Abs(dy[l] * v[l])
						out[l] += p[j] * v[l]
					}
					in.scores, in.products = max(in.scores, math.Abs(s)), max(in.products, magnitude)
				}
				in.lse = append(in.lse, math.Log(sum))
				var mean, squares, errors float64
				for j := range p {
					p[j] /= sum
					mean += p[j] * dp[j]
					squares += p[j] * p[j]
					errors += p[j] * p[j] * dp[j] * dp[j]
				}
				for l := range out {
					errors += dy[l] * out[l] / sum * dy[l] * out[l] / sum
				}
				wrong += squares * errors
				for j := range p {
					right += p[j] * (dp[j] - mean) * p[j] * (dp[j] - mean)
				}
			}
		}
	}
	if right > 0 {
		in.subtracted = math.Sqrt(wrong / right)
	}
	return in
}

// attentionLimits returns the errors of a right kernel.
func attentionLimits(t kernels.DType, k nn.AttentionForward, in insides) (limit struct{ out, lse, dv, dqk float64 }) {
	// A score is a sum over the head; p = exp(score - lse) has its absolute error,
	// roundings of the argument and of the scale, and the function's. In bfloat16
	// the scores are those of tensor cores, and so are the sums weighted by p.
	sum, function := rounding.Sum, rounding.Exp
	if t == kernels.BF16 {
		sum, function = rounding.TensorSum, rounding.Exp2
	}
	score := max(in.scores, 1) * (sum(k.D) + rounding.Units(4))
	p := score + function + rounding.Sum(k.N)
	limit.lse = (score + rounding.Sum(k.N) + function + rounding.Log) * math.Sqrt(float64(len(in.lse))) / rounding.Norm(in.lse)
	limit.lse += rounding.Units(2)
	weighted := p + sum(k.N) + rounding.Units(2)
	limit.out, limit.dv = weighted, weighted
	limit.dqk = (weighted+sum(k.D))*(1+in.subtracted) + rounding.Units(4)
	if t == kernels.BF16 {
		// What is rounded is p and the result, and of dq and dk also ds, and either
		// p or out in what is subtracted.
		limit.out += rounding.Path(t, 2)
		limit.dv += rounding.Path(t, 2)
		limit.dqk += rounding.Path(t, 3+in.subtracted*in.subtracted)
	}
	return limit
}

// part returns one of q, k and v of [B*N, 3, C].
func part(x []float64, c, which int) (p []float64) {
	for at := which * c; at < len(x); at += 3 * c {
		p = append(p, x[at:at+c]...)
	}
	return p
}

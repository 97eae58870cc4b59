//go:build gpu

package kernels_test

import (
	"math"
	"slices"
	"testing"

	"hatchery/engine/cuda/kernels"
	"hatchery/engine/cuda/rounding"
)

// learner is an optimizer on the device, and the same computed tensor by tensor
// in float64.
type learner struct {
	*device
	kernels.Optimizer
	sizes []int
	decay []bool
	lamb  bool

	params, m, v, ema [][]float64
	steps             int
}

// layoutSizes are those of tensors: less and more than a chunk, a whole one,
// and more than a block of the update takes.
var layoutSizes = []int{5, 256, 700, 1, 3 * 1024, 300}

func newLearner(d *device, lamb bool) *learner {
	l := &learner{device: d, sizes: layoutSizes, decay: []bool{true, false, true, true, true, false}, lamb: lamb}
	for i, n := range l.sizes {
		p := noise(kernels.F32, "param", n+i)[:n]
		l.params, l.ema = append(l.params, slices.Clone(p)), append(l.ema, slices.Clone(p))
		l.m, l.v = append(l.m, make([]float64, n)), append(l.v, make([]float64, n))
	}
	clear(l.params[3]) // no weights: LAMB's trust ratio is 1
	clear(l.ema[3])
	layout := kernels.NewLayout(l.sizes, l.decay)
	flat := func(v [][]float64) kernels.Buffer { return d.store(kernels.F32, flatten(layout, v)) }
	l.Optimizer = kernels.Optimizer{Layout: layout, Chunks: put(d, layout.Chunks), Starts: put(d, layout.Starts),
		Params: flat(l.params), M: flat(l.m), V: flat(l.v), Grad: flat(l.m), Copy: d.out(kernels.BF16, layout.Elements), EMA: flat(l.ema),
		Rate: put(d, []float64{0}), Loss: put(d, []float32{1}), State: put(d, littleEndian(kernels.State{}.Put, kernels.StateBytes)),
		Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.05, Clip: 40, EMADecay: 0.99}
	l.Scratch = d.alloc(max(l.ScratchBytes(), l.LAMBScratchBytes()))
	return l
}

// flatten puts tensors at their places.
func flatten(layout kernels.Layout, tensors [][]float64) []float64 {
	v := make([]float64, layout.Elements)
	for i, t := range tensors {
		copy(v[layout.Offsets[i]:], t)
	}
	return v
}

// step runs a step on the device with the given gradients, in flat form.
func (l *learner) step(lr float64, grad []float64) {
	write(l.device, l.Rate, []float64{lr})
	write(l.device, l.Grad, narrow(grad))
	if l.lamb {
		l.run(kernels.LAMB(l.Optimizer)...)
	} else {
		l.run(kernels.AdamW(l.Optimizer)...)
	}
}

// plain computes the same step from the formulas (Loshchilov and Hutter; You et
// al. as timm keeps it).
func (l *learner) plain(lr float64, grads [][]float64) {
	l.steps++
	var squares float64
	for _, g := range grads {
		squares += dot(g, g)
	}
	scale := 1.0
	switch norm := math.Sqrt(squares); {
	case l.Clip == 0:
	case l.lamb:
		scale = 1 / max(1, norm/l.Clip)
	default:
		scale = min(1, l.Clip/(norm+1e-6))
	}
	c1, c2 := 1-math.Pow(l.Beta1, float64(l.steps)), 1-math.Pow(l.Beta2, float64(l.steps))
	for i, p := range l.params {
		decay := 0.0
		if l.decay[i] {
			decay = l.WeightDecay
		}
		update := make([]float64, len(p))
		for j := range p {
			g := grads[i][j] * scale
			l.m[i][j] = l.Beta1*l.m[i][j] + (1-l.Beta1)*g
			l.v[i][j] = l.Beta2*l.v[i][j] + (1-l.Beta2)*g*g
			update[j] = l.m[i][j]/c1/(math.Sqrt(l.v[i][j]/c2)+l.Eps) + decay*p[j]
		}
		rate := lr
		if w, u := dot(p, p), dot(update, update); l.lamb && decay != 0 && w > 0 && u > 0 {
			rate *= math.Sqrt(w / u)
		}
		for j := range p {
			p[j] -= rate * update[j]
			l.ema[i][j] = l.EMADecay*l.ema[i][j] + (1-l.EMADecay)*p[j]
		}
	}
}

func dot(a, b []float64) (s float64) {
	for i := range a {
		s += a[i] * b[i]
	}
	return s
}

func (l *learner) state() kernels.State {
	return kernels.ReadState(get[byte](l.device, l.State, kernels.StateBytes))
}

// all reads everything that a step may change.
func (l *learner) all() [][]float64 {
	n := l.Layout.Elements
	return [][]float64{l.load(kernels.F32, l.Params, n), l.load(kernels.F32, l.M, n), l.load(kernels.F32, l.V, n),
		l.load(kernels.F32, l.EMA, n), l.load(kernels.BF16, l.Copy, n)}
}

func (l *learner) check() {
	l.Helper()
	got := l.all()
	// What each step rounds: of a parameter its decay's factor, and the sum (the
	// update has a few more, but is a hundredth); of m two factors, the clipped
	// gradient (two), a product and the sum; of v the gradient's square as well;
	// of the average the difference, its factor, both small, and the sum.
	for i, c := range []struct {
		what      string
		want      [][]float64
		roundings float64
	}{{"parameters", l.params, 3}, {"m", l.m, 6}, {"v", l.v, 8}, {"average", l.ema, 3}} {
		l.near(c.what, got[i], flatten(l.Layout, c.want), rounding.Units(c.roundings*float64(l.steps)))
	}
	l.same("bfloat16 copies", got[4], roundAll(kernels.BF16, got[0]))
}

func TestOptimizersEqualTheirFormulas(t *testing.T) {
	for _, lamb := range []bool{false, true} {
		// An eps that counts, too.
		for _, c := range []struct{ clip, weightDecay, eps float64 }{{40, 0.05, 1e-8}, {0, 0.05, 0.1}, {1, 0, 1e-3}} {
			on(t, func(d *device) {
				l := newLearner(d, lamb)
				l.Clip, l.WeightDecay, l.Eps = c.clip, c.weightDecay, c.eps
				for step := range 4 {
					// With a limit of 40, the first step is clipped and the last is not.
					grads := make([][]float64, len(l.sizes))
					var squares float64
					for i, n := range l.sizes {
						grads[i] = roundAll(kernels.F32, scaled(noise(kernels.F32, "grad", n+step)[:n], 1/float64(step+1)))
						squares += dot(grads[i], grads[i])
					}
					lr := 1e-2 / float64(step+1)
					l.step(lr, flatten(l.Layout, grads))
					l.plain(lr, grads)
					l.check()
					want := kernels.State{Steps: int64(step + 1)}
					if c.clip > 0 {
						want.Norm = math.Sqrt(squares)
					}
					got := l.state()
					// Of four squares in float32; a root halves it.
					if !(math.Abs(got.Norm-want.Norm) <= rounding.Units(4)/2*want.Norm) {
						t.Errorf("norm %v, want %v", got.Norm, want.Norm)
					}
					if got.Norm = want.Norm; got != want {
						t.Errorf("state %+v, want %+v", got, want)
					}
				}
			})
		}
	}
}

// TestDivergedStepChangesNothing breaks the second step, and wants the third,
// which is sound, to change nothing either.
func TestDivergedStepChangesNothing(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, lamb := range []bool{false, true} {
		for _, c := range []struct {
			name       string
			loss, grad float64
			clip       float64
		}{{"NaN gradient", 1, nan, 1}, {"infinite gradient", 1, -inf, 1}, {"NaN loss", nan, 0, 1}, {"infinite loss, no clipping", inf, 0, 0}} {
			on(t, func(d *device) {
				l := newLearner(d, lamb)
				l.Clip = c.clip
				grad := noise(kernels.F32, "grad", l.Layout.Elements)
				for i := range l.sizes { // what lies between tensors stays 0
					clear(grad[l.Layout.Offsets[i]+l.sizes[i] : int(l.Layout.Starts[i+1])*256])
				}
				l.step(1e-3, grad)
				before := l.all()
				broken := slices.Clone(grad)
				broken[300] += c.grad
				write(d, l.Loss, []float32{float32(c.loss)})
				l.step(1e-3, broken)
				write(d, l.Loss, []float32{1})
				l.step(1e-3, grad)
				for i, v := range l.all() {
					d.same(c.name+": what should not change", v, before[i])
				}
				if s := l.state(); s.Steps != 1 || s.Diverged != 2 {
					t.Errorf("%s: state %+v, want 1 step taken and divergence in step 2", c.name, s)
				}
			})
		}
	}
}

// TestOptimizerGoesOnFromState continues on another device state with the bits
// of one that was not interrupted.
func TestOptimizerGoesOnFromState(t *testing.T) {
	on(t, func(d *device) {
		whole, part := newLearner(d, false), newLearner(d, false)
		grad := noise(kernels.F32, "grad", whole.Layout.Elements)
		for range 3 {
			whole.step(1e-3, grad)
		}
		part.step(1e-3, grad)
		saved := part.all()
		rest := newLearner(d, false)
		for i, b := range []kernels.Buffer{rest.Params, rest.M, rest.V, rest.EMA} {
			write(d, b, narrow(saved[i]))
		}
		write(d, rest.State, littleEndian(kernels.State{Steps: 1}.Put, kernels.StateBytes))
		for range 2 {
			rest.step(1e-3, grad)
		}
		want := whole.all()
		for i, v := range rest.all() {
			d.same("a resumed optimizer", v, want[i])
		}
	})
}

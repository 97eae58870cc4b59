package lower

import (
	"fmt"

	"hatchery/engine/cuda/blas"
	"hatchery/engine/cuda/kernels"
	"hatchery/engine/graph"
	"hatchery/engine/nn"
)

// emitter writes the commands of operations.
type emitter struct {
	program *Program
	op      *Operation
	stream  int
	pass    int
	first   int // index in the step of the pass's first image
	scratch kernels.Buffer
}

func (e *emitter) launch(launches ...kernels.Launch) {
	for i := range launches {
		e.program.Commands = append(e.program.Commands, Command{Stream: e.stream, Operation: e.op, Launch: &launches[i]})
	}
}

func (e *emitter) product(p Product) {
	e.program.Commands = append(e.program.Commands, Command{Stream: e.stream, Operation: e.op, Product: &p})
}

// add reports whether gradients and losses are added to those of earlier passes.
func (e *emitter) add() bool { return e.pass > 0 }

// op adds an operation with the owner of step i.
func (l *lowering) op(i int, name string, in, out []*Value, scratch int, emit func(e *emitter)) *Operation {
	o := &Operation{Name: name, In: in, Out: out, scratch: int64(scratch), emit: emit, owner: l.owner[i]}
	l.program.Operations = append(l.program.Operations, o)
	return o
}

func list(values ...*Value) []*Value { return values }

// step makes the operation of step i and of the steps that are fused into it.
func (l *lowering) step(i int) error {
	s, with := l.plan.Steps[i], l.fused[i]
	in, out := l.valuesOf(s.In), l.valuesOf(s.Out)
	switch k := s.Kernel.(type) {
	case nn.Patchify:
		return l.patches(i, k, s, out)
	case nn.LinearForward:
		l.linear(i, k, in, out[0], with.gelu)
	case nn.LinearBackwardInput:
		l.linearInput(i, k, in[0], in[1], out[0], with.geluBackward)
	case nn.LinearBackwardWeight:
		l.linearWeight(i, k, in[0], in[1], out[0], with.columnSum)
	case nn.ColumnSum:
		columns := func(e *emitter) kernels.ColumnSum {
			return kernels.ColumnSum{T: in[0].DType, Rows: k.M, Width: k.N, Y: out[0].buffer(), X: in[0].buffer(), Accumulate: e.add(), Scratch: e.scratch}
		}
		l.op(i, "column_sum", in, out, columns(new(emitter)).ScratchBytes(), func(e *emitter) { e.launch(columns(e).Launches()...) })
	case nn.GELUForward:
		l.op(i, "gelu", in, out, 0, func(e *emitter) {
			e.launch(kernels.GELU(l.T, k.N, 0, out[0].buffer(), in[0].buffer(), kernels.Buffer{}))
		})
	case nn.GELUBackward:
		l.op(i, "gelu_backward", in, out, 0, func(e *emitter) {
			e.launch(kernels.GELUBackward(l.T, k.N, 0, out[0].buffer(), in[0].buffer(), kernels.Buffer{}, in[1].buffer()))
		})
	case nn.LayerNormForward:
		l.op(i, "layer_norm", in, out, 0, func(e *emitter) {
			e.launch(kernels.LayerNorm{T: l.T, Rows: k.M, Width: k.N, Eps: k.Eps, X: in[0].buffer(), Gamma: in[1].buffer(), Beta: in[2].buffer(),
				Y: out[0].buffer(), Stats: out[1].buffer()}.Launch())
		})
	case nn.LayerNormBackward:
		l.normBackward(i, k, in, out, nil, nil)
	case nn.ResidualForward:
		l.residual(i, k, in, out[0], with.norm)
	case nn.ScaleSamples:
		l.op(i, "scale_samples", in, out, 0, func(e *emitter) {
			e.launch(kernels.ScaleSamples(l.T, k.B, k.N, out[0].buffer(), in[0].buffer(), l.scale(e, in[1])))
		})
	case graph.Add:
		return l.add(i, k, s, in, out, with)
	case nn.AttentionForward:
		l.attention(i, k, s, in[0], out[0])
	case nn.AttentionBackward:
		return l.attentionBackward(i, k, s, in, out[0])
	case nn.TokensForward:
		l.op(i, "tokens", in, out, 0, func(e *emitter) {
			e.launch(kernels.Tokens(l.T, k.B, k.N, k.C, out[0].buffer(), in[0].buffer(), in[1].buffer(), in[2].buffer()))
		})
	case nn.TokensBackward:
		tokens := func(e *emitter) kernels.TokensBackward {
			return kernels.TokensBackward{T: l.T, B: k.B, N: k.N, C: k.C, DY: in[0].buffer(), DX: out[0].buffer(), DCls: out[1].buffer(), DPos: out[2].buffer(),
				Accumulate: e.add(), Scratch: e.scratch}
		}
		l.op(i, "tokens_backward", in, out, tokens(new(emitter)).ScratchBytes(), func(e *emitter) { e.launch(tokens(e).Launches()...) })
	case nn.ClassToken:
		l.op(i, "class_token", in, out, 0, func(e *emitter) {
			e.launch(kernels.ClassToken(l.T, k.B, k.N, k.C, out[0].buffer(), in[0].buffer()))
		})
	case nn.ClassTokenBackward:
		l.op(i, "class_token_backward", in, out, 0, func(e *emitter) {
			e.launch(kernels.ClassTokenBackward(l.T, k.B, k.N, k.C, out[0].buffer(), in[0].buffer()))
		})
	case nn.CrossEntropyForward:
		l.crossEntropy(i, k.B, k.Classes, in[0], out[0], with.gradient)
	case nn.CrossEntropyBackward:
		if !isOne(s.In[2]) {
			return fmt.Errorf("the gradient of the loss is not the constant 1")
		}
		l.crossEntropy(i, k.B, k.Classes, in[0], nil, &s)
	case nn.L1Forward:
		l.l1(i, k.N, in[0], in[1], out[0], with.gradient)
	case nn.L1Backward:
		if !isOne(s.In[2]) {
			return fmt.Errorf("the gradient of the loss is not the constant 1")
		}
		l.l1(i, k.N, in[0], in[1], nil, &s)
	case nn.Score:
		labels := l.input("labels", 4*int64(l.Batch))
		l.op(i, "score", list(in[0], labels), out, 0, func(e *emitter) {
			e.launch(kernels.Score(k.B, k.Classes, out[0].buffer(), out[1].buffer(), in[0].buffer(), kernels.Buffer{}, labels.At.At(4*e.first)))
		})
	default:
		return fmt.Errorf("there is no code for this kernel")
	}
	return nil
}

// patches makes patches from the images or pixels of a batch.
func (l *lowering) patches(i int, k nn.Patchify, s graph.Step, out []*Value) error {
	if l.sources[s.In[0]] != imagesLeaf {
		return fmt.Errorf("its input is not the batch's images")
	}
	p := kernels.Patches{T: l.T, Batch: l.Batch, Group: l.group(), B: k.B, Channels: k.Channels, Size: k.Size, Patch: k.Patch}
	var in []*Value
	name := "patches_float"
	size := int64(l.Batch * k.Channels * k.Size * k.Size)
	var mix, erase, pixels *Value
	if l.Pixels == nil {
		pixels = l.input("images", 4*size)
	} else {
		name = "patches"
		for c := range k.Channels {
			p.Mean, p.Std = append(p.Mean, float64(l.Pixels.Mean[c])), append(p.Std, float64(l.Pixels.Std[c]))
		}
		pixels = l.input("pixels", size)
		if l.training() {
			mix = l.mix()
			if l.Pixels.Erase {
				erase = l.input("erase", int64(l.Batch)*kernels.EraseBytes)
			}
		}
	}
	in = append(in, pixels)
	for _, v := range list(mix, erase) {
		if v != nil {
			in = append(in, v)
		}
	}
	l.op(i, name, in, out, 0, func(e *emitter) {
		p := p
		p.First, p.Y, p.Mix, p.Erase = e.first, out[0].buffer(), mix.buffer(), erase.buffer()
		if l.Pixels == nil {
			p.Images = pixels.At
		} else {
			p.Pixels = pixels.At
		}
		e.launch(p.Launch())
	})
	return nil
}

// group returns the number of images in a batch that are mixed with one another.
func (l *lowering) group() int {
	if l.Pixels == nil || l.Pixels.MixBatch == 0 {
		return l.Batch
	}
	return min(l.Batch, l.Pixels.MixBatch)
}

// mix returns the input that holds a Mix for each group of a batch.
func (l *lowering) mix() *Value {
	groups := (l.Batch + l.group() - 1) / l.group()
	return l.input("mix", int64(groups)*kernels.MixBytes)
}

// training reports whether the plan has gradients.
func (l *lowering) training() bool { return len(l.grads) > 0 }

// scale returns drop path's input for the images of a pass.
func (l *lowering) scale(e *emitter, v *Value) kernels.Buffer {
	if v == nil {
		return kernels.Buffer{}
	}
	return v.At.At(4 * e.first)
}

// weight returns the buffer of a parameter in type t.
func (l *lowering) weight(v *Value, t kernels.DType) kernels.Buffer {
	if t == kernels.F32 {
		return v.At
	}
	copies := Copies
	if v.At.ID == EMA {
		copies = EMACopies
	}
	return kernels.Buffer{ID: copies, Offset: v.At.Offset / 2}
}

// forward returns the product of a linear layer whose output has type d.
func (l *lowering) forward(k nn.LinearForward, d kernels.DType, e blas.Epilogue) blas.Gemm {
	return blas.Gemm{M: k.M, N: k.N, K: k.K, TransB: true, A: l.T, B: l.T, D: d, BiasType: d, Epilogue: e}
}

// inputGrad returns the product for the gradient of a linear layer's input.
func (l *lowering) inputGrad(k nn.LinearBackwardInput, e blas.Epilogue) blas.Gemm {
	return blas.Gemm{M: k.M, N: k.K, K: k.N, A: l.T, B: l.T, D: l.T, BiasType: l.T, Epilogue: e}
}

// weightGrad returns the product for the gradient of a linear layer's weight.
func (l *lowering) weightGrad(k nn.LinearBackwardWeight, e blas.Epilogue) blas.Gemm {
	return blas.Gemm{M: k.N, N: k.K, K: k.M, TransA: true, A: l.T, B: l.T, D: kernels.F32, BiasType: kernels.F32, Epilogue: e}
}

// linear makes the operation of x wᵀ + b, with a GELU if that is not nil.
func (l *lowering) linear(i int, k nn.LinearForward, in []*Value, y *Value, gelu *graph.Step) {
	g := l.forward(k, y.DType, blas.None)
	name, out := "linear", list(y)
	var aux *Value
	d := y
	switch {
	case gelu != nil:
		name, d = "linear+gelu", l.value(gelu.Out[0])
		if g.Epilogue = l.geluEpilogue(l.plan.Steps[i]); g.Epilogue == blas.GeluAuxBias {
			aux, out = y, list(d, y)
		} else {
			l.skipped[y] = true
			out = list(d)
		}
	case k.Bias && l.enabled(LinearBias) && l.supports(l.forward(k, y.DType, blas.Bias)):
		g.Epilogue = blas.Bias
	}
	o := l.op(i, name, in, out, 0, func(e *emitter) {
		p := Product{Gemm: g, In: [2]kernels.Buffer{in[0].buffer(), l.weight(in[1], l.T)}, Out: d.buffer(), Aux: aux.buffer()}
		if g.Epilogue != blas.None {
			p.Bias = l.weight(in[2], g.BiasType)
		}
		e.product(p)
		if k.Bias && g.Epilogue == blas.None {
			e.launch(kernels.AddBias(d.DType, k.M*k.N, k.N, d.buffer(), d.buffer(), in[2].buffer()))
		}
	})
	o.macs = int64(k.M) * int64(k.N) * int64(k.K)
	if l.T == kernels.BF16 {
		o.copied = list(in[1])
	}
	if g.Epilogue != blas.None && g.BiasType == kernels.BF16 {
		o.copied = append(o.copied, in[2])
	}
}

// linearInput makes the operation of dy w, times the derivative of a GELU if that is not nil.
func (l *lowering) linearInput(i int, k nn.LinearBackwardInput, dy, w, dx *Value, geluBackward *graph.Step) {
	g := l.inputGrad(k, blas.None)
	name, in := "linear_dx", list(dy, w)
	var aux *Value
	if geluBackward != nil {
		l.skipped[dx] = true
		aux, dx = l.value(geluBackward.In[0]), l.value(geluBackward.Out[0])
		name, in = "linear_dx+gelu_backward", list(dy, w, aux)
		g.Epilogue = blas.DGelu
	}
	o := l.op(i, name, in, list(dx), 0, func(e *emitter) {
		e.product(Product{Gemm: g, In: [2]kernels.Buffer{dy.buffer(), l.weight(w, l.T)}, Out: dx.buffer(), Aux: aux.buffer()})
	})
	o.macs = int64(k.M) * int64(k.N) * int64(k.K)
	if l.T == kernels.BF16 {
		o.copied = list(w)
	}
}

// linearWeight makes the operation of dyᵀ x, with the column sum of dy if that is not nil.
func (l *lowering) linearWeight(i int, k nn.LinearBackwardWeight, dy, x, dw *Value, columnSum *graph.Step) {
	g := l.weightGrad(k, blas.None)
	name, out := "linear_dw", list(dw)
	var bias *Value
	if columnSum != nil {
		bias = l.value(columnSum.Out[0])
		name, out = "linear_dw+column_sum", list(dw, bias)
		g.Epilogue = blas.SumA
	}
	o := l.op(i, name, list(dy, x), out, 0, func(e *emitter) {
		p := Product{Gemm: g, In: [2]kernels.Buffer{dy.buffer(), x.buffer()}, Out: dw.buffer(), Bias: l.biasGrad(e, bias)}
		if e.add() {
			p.Beta = 1
			l.addsBiasGrads = l.addsBiasGrads || bias != nil
		}
		e.product(p)
	})
	o.macs = int64(k.M) * int64(k.N) * int64(k.K)
}

// biasGrad returns the buffer to which an epilogue writes the gradient of a bias. In passes
// after the first it is the buffer whose content is added at the end of the pass.
func (l *lowering) biasGrad(e *emitter, grad *Value) kernels.Buffer {
	if grad == nil || e.pass == 0 {
		return grad.buffer()
	}
	for _, p := range l.params.Learners {
		if first := int64(4 * p.First); grad.At.Offset >= first && grad.At.Offset < first+int64(4*p.Biases) {
			return kernels.Buffer{ID: Grads, Offset: int64(4*p.Pass) + grad.At.Offset - first}
		}
	}
	panic("lower: the gradient of a bias is outside the biases")
}

// residual makes the operation of x + scale f, with the LayerNorm of that if norm is not nil.
func (l *lowering) residual(i int, k nn.ResidualForward, in []*Value, sum *Value, norm *graph.Step) {
	var scale *Value
	if k.DropPath {
		scale = in[2]
	}
	if norm == nil {
		l.op(i, "residual", in, list(sum), 0, func(e *emitter) {
			e.launch(kernels.Residual(l.T, k.B, k.N, sum.buffer(), in[0].buffer(), in[1].buffer(), l.scale(e, scale)))
		})
		return
	}
	n := norm.Kernel.(nn.LayerNormForward)
	gamma, beta := l.value(norm.In[1]), l.value(norm.In[2])
	out := append(list(sum), l.valuesOf(norm.Out)...)
	l.op(i, "residual+layer_norm", append(append([]*Value{}, in...), gamma, beta), out, 0, func(e *emitter) {
		e.launch(kernels.LayerNorm{T: l.T, Rows: n.M, Width: n.N, Eps: n.Eps, X: in[0].buffer(), Gamma: gamma.buffer(), Beta: beta.buffer(),
			Y: out[1].buffer(), Stats: out[2].buffer(), Branch: in[1].buffer(), Scale: l.scale(e, scale), RowsPerSample: n.M / k.B, Sum: sum.buffer()}.Launch())
	})
}

// add makes the operation of a sum of two gradients. It may be fused with the LayerNorm
// through which one of them comes, and with the drop path of the branch before.
func (l *lowering) add(i int, k graph.Add, s graph.Step, in, out []*Value, with fusion) error {
	if with.normBackward == nil {
		if out[0].DType != l.T || in[0].DType != l.T || in[1].DType != l.T {
			return fmt.Errorf("a sum of gradients of a parameter is not supported")
		}
		l.op(i, "add", in, out, 0, func(e *emitter) {
			e.launch(kernels.Add(l.T, k.N, out[0].buffer(), in[0].buffer(), in[1].buffer()))
		})
		return nil
	}
	n := with.normBackward
	residual := in[0]
	if s.In[0] == n.Out[0] {
		residual = in[1]
	}
	l.skipped[l.value(n.Out[0])] = true
	outs := append(list(out[0]), l.valuesOf(n.Out[1:])...)
	l.normBackward(i, n.Kernel.(nn.LayerNormBackward), l.valuesOf(n.In), outs, residual, with.scale)
	return nil
}

// normBackward makes the operation of the gradient of a LayerNorm. out is dx, dgamma, dbeta.
func (l *lowering) normBackward(i int, k nn.LayerNormBackward, in, out []*Value, residual *Value, scale *graph.Step) {
	name := "layer_norm_backward"
	var branch, scales *Value
	all, outs := append([]*Value{}, in...), append([]*Value{}, out...)
	if residual != nil {
		name, all = name+"+add", append(all, residual)
	}
	samples := 1
	if scale != nil {
		branch, scales = l.value(scale.Out[0]), l.value(scale.In[1])
		samples = scale.Kernel.(nn.ScaleSamples).B
		name, all, outs = name+"+scale_samples", append(all, scales), append(outs, branch)
	}
	norm := func(e *emitter) kernels.LayerNormBackward {
		b := kernels.LayerNormBackward{T: l.T, Rows: k.M, Width: k.N, X: in[0].buffer(), Gamma: in[1].buffer(), DY: in[2].buffer(), Stats: in[3].buffer(),
			Residual: residual.buffer(), DX: out[0].buffer(), DGamma: out[1].buffer(), DBeta: out[2].buffer(), Accumulate: e.add(), Scratch: e.scratch}
		if branch != nil {
			b.DBranch, b.Scale, b.RowsPerSample = branch.buffer(), l.scale(e, scales), k.M/samples
		}
		return b
	}
	l.op(i, name, all, outs, norm(new(emitter)).ScratchBytes(), func(e *emitter) { e.launch(norm(e).Launches()...) })
}

// attention makes the operation of attention. If there is a backward pass, it also computes
// the log-sum-exp of each row of scores.
func (l *lowering) attention(i int, k nn.AttentionForward, s graph.Step, qkv, y *Value) {
	out := list(y)
	if l.hasBackward(s) {
		lse := l.temporary(kernels.F32, k.B*k.H*k.N)
		l.lse[s.In[0]], l.outs[s.In[0]] = lse, y
		out = append(out, lse)
	}
	o := l.op(i, "attention", list(qkv), out, 0, func(e *emitter) {
		lse := kernels.Buffer{}
		if len(out) > 1 {
			lse = out[1].buffer()
		}
		e.launch(kernels.Attention{T: l.T, B: k.B, N: k.N, H: k.H, D: k.D, QKV: qkv.buffer(), Out: y.buffer(), LSE: lse}.Launch())
	})
	o.macs = 2 * int64(k.B) * int64(k.H) * int64(k.N) * int64(k.N) * int64(k.D)
}

// hasBackward reports whether the gradient of an attention step is needed.
func (l *lowering) hasBackward(s graph.Step) bool {
	for _, j := range l.readers[s.In[0]] {
		if isA[nn.AttentionBackward](l.plan.Steps[j]) {
			return true
		}
	}
	return false
}

// attentionBackward makes the operation of attention's gradient. It reads the log-sum-exp of
// the forward pass, and its output if the kernel needs it.
func (l *lowering) attentionBackward(i int, k nn.AttentionBackward, s graph.Step, in []*Value, dqkv *Value) error {
	y, lse := l.outs[s.In[0]], l.lse[s.In[0]]
	if lse == nil {
		return fmt.Errorf("no attention of the same qkv comes before it")
	}
	backward := func(e *emitter) kernels.AttentionBackward {
		return kernels.AttentionBackward{T: l.T, B: k.B, N: k.N, H: k.H, D: k.D, QKV: in[0].buffer(), Out: y.buffer(), LSE: lse.buffer(),
			DOut: in[1].buffer(), DQKV: dqkv.buffer(), Scratch: e.scratch}
	}
	reads := list(in[0], lse, in[1])
	if backward(new(emitter)).ReadsOut() {
		reads = append(reads, y)
	}
	o := l.op(i, "attention_backward", reads, list(dqkv), backward(new(emitter)).ScratchBytes(), func(e *emitter) {
		e.launch(backward(e).Launches()...)
	})
	o.macs = 5 * int64(k.B) * int64(k.H) * int64(k.N) * int64(k.N) * int64(k.D)
	return nil
}

// crossEntropy makes the operation of a loss, of its gradient, or of both.
func (l *lowering) crossEntropy(i, b, classes int, logits, loss *Value, gradient *graph.Step) {
	in, out := list(logits), list(loss)
	var dlogits, targets, labels, mix *Value
	if l.Pixels == nil {
		targets = l.input("targets", int64(4*l.Batch*classes))
		in = append(in, targets)
	} else {
		labels, mix = l.input("labels", int64(4*l.Batch)), l.mix()
		in = append(in, labels, mix)
	}
	name := "cross_entropy"
	switch {
	case gradient != nil && loss == nil:
		dlogits = l.value(gradient.Out[0])
		name, out = "cross_entropy_backward", list(dlogits)
	case gradient != nil:
		dlogits = l.value(gradient.Out[0])
		name, out = "cross_entropy+backward", list(loss, dlogits)
	}
	k := func(e *emitter) kernels.CrossEntropy {
		c := kernels.CrossEntropy{T: l.T, Batch: l.Batch, First: e.first, B: b, Classes: classes, Weight: 1 / float64(l.Batch),
			Logits: logits.buffer(), Loss: loss.buffer(), DLogits: dlogits.buffer(), Accumulate: e.add(), Scratch: e.scratch}
		if l.Pixels == nil {
			c.Targets = targets.At.At(4 * e.first * classes)
		} else {
			c.Labels, c.Mix, c.Group, c.Smoothing = labels.At, mix.At, l.group(), l.Pixels.Smoothing
		}
		return c
	}
	l.op(i, name, in, out, k(new(emitter)).ScratchBytes(), func(e *emitter) { e.launch(k(e).Launches()...) })
}

// l1 makes the operation of a loss, of its gradient, or of both.
func (l *lowering) l1(i, n int, x, y, loss *Value, gradient *graph.Step) {
	out, name := list(loss), "l1"
	var dx *Value
	switch {
	case gradient != nil && loss == nil:
		dx = l.value(gradient.Out[0])
		name, out = "l1_backward", list(dx)
	case gradient != nil:
		dx = l.value(gradient.Out[0])
		name, out = "l1+backward", list(loss, dx)
	}
	k := func(e *emitter) kernels.L1 {
		return kernels.L1{T: l.T, N: n, Weight: 1 / float64(n*l.program.passes), X: x.buffer(), Y: y.buffer(), Loss: loss.buffer(), DX: dx.buffer(),
			Accumulate: e.add(), Scratch: e.scratch}
	}
	l.op(i, name, list(x, y), out, k(new(emitter)).ScratchBytes(), func(e *emitter) { e.launch(k(e).Launches()...) })
}

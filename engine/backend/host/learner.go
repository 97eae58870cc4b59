package host

import (
	"hatchery/engine/backend"
	"hatchery/engine/cpu"
	"hatchery/engine/optim"
	"hatchery/engine/runs/safetensors"
	"hatchery/models"
)

// learner holds what one stage trains: parameters, optimizer and loss.
type learner struct {
	*backend.Learner
	params    []models.NetParam
	values    [][]float32
	grads     [][]float32 // written by the executor in each pass
	sums      [][]float32 // over the passes of a step; nil for one pass
	optimizer optim.Optimizer
	ema       *optim.EMA // nil: none
	loss      []float32  // one element, written by the executor
	stepLoss  float64    // mean over the passes of the last step
}

// newLearner makes a learner of a job. grad returns the storage to which the executor
// writes a parameter's gradient.
func newLearner(b *backend.Learner, j *backend.Job, grad func(models.NetParam) []float32, passes int, pool *cpu.Pool) (l *learner, err error) {
	l = &learner{Learner: b}
	var params []optim.Param
	for _, p := range b.Trained() {
		g, value := grad(p), j.Weights[p.Leaf()]
		l.params = append(l.params, p)
		l.values = append(l.values, value)
		l.grads = append(l.grads, g)
		if passes > 1 {
			g = make([]float32, len(g))
			l.sums = append(l.sums, g)
		}
		params = append(params, optim.Param{Name: p.Name, Value: value, Grad: g, Decay: p.Decay})
	}
	r := j.Recipe
	l.optimizer, err = optim.New(r.Optimizer, params, optim.Config{
		Beta1: r.Betas[0], Beta2: r.Betas[1], Eps: r.Eps, WeightDecay: r.WeightDecay, Parallel: pool.Each,
	})
	if err != nil || r.EMA == 0 {
		return l, err
	}
	ema := make([][]float32, len(params))
	for i, p := range l.params {
		ema[i] = make([]float32, p.Size())
		p.Owner = p.Owner.EMA()
		j.Weights[p.Leaf()] = ema[i]
	}
	l.ema, err = optim.NewEMA(params, ema, r.EMA, pool.Each)
	return l, err
}

// accumulate adds the gradients of a pass to the sums, which become the means over the
// passes of a step.
func (l *learner) accumulate(pass, passes int) {
	share := 1 / float32(passes)
	for i, sum := range l.sums {
		if pass == 0 {
			clear(sum)
		}
		for j, g := range l.grads[i] {
			sum[j] += g * share
		}
	}
}

// tensors returns the parameters under timm's names, the optimizer's state and the moving
// averages.
func (l *learner) tensors() []safetensors.Tensor {
	var all []safetensors.Tensor
	shapes := map[string][]int{}
	for i, p := range l.params {
		shapes[p.Name] = p.Shape
		all = append(all, safetensors.Tensor{Name: p.Name, Shape: p.Shape, Data: l.values[i]})
	}
	state := func(name string, data []float32) {
		shape, ok := shapes[optim.StateOf(name)]
		if !ok {
			shape = []int{len(data)}
		}
		all = append(all, safetensors.Tensor{Name: name, Shape: shape, Data: data})
	}
	for name, data := range l.optimizer.State() {
		state(name, data)
	}
	if l.ema != nil {
		for name, data := range l.ema.State() {
			state(name, data)
		}
	}
	return all
}

// restore loads parameters, optimizer state and moving averages.
func (l *learner) restore(lookup func(string) (safetensors.Tensor, bool)) error {
	for i, p := range l.params {
		t, ok := lookup(p.Name)
		if !ok || len(t.Data) != len(l.values[i]) {
			return backend.Mismatch(p.Param, t, ok)
		}
		copy(l.values[i], t.Data)
	}
	data := func(name string) []float32 {
		t, _ := lookup(name)
		return t.Data
	}
	if err := l.optimizer.Load(data); err != nil || l.ema == nil {
		return err
	}
	return l.ema.Load(data)
}

package pipeline

import (
	"math"

	"hatchery/engine/cpu"
	"hatchery/engine/optim"
	"hatchery/engine/runs"
	"hatchery/engine/runs/safetensors"
	"hatchery/models"
)

// weights holds parameters by the name of their leaf ("target/head.weight").
// Executors use these slices as their storage, so that training and evaluation
// see the same values.
type weights map[string][]float32

// initialise adds the first values of parameters that are not there yet.
func (w weights) initialise(params []models.NetParam, seed uint64) {
	for _, p := range params {
		if w[p.Leaf()] == nil {
			w[p.Leaf()] = models.Initialize(p.Param, seed, p.Owner)
		}
	}
}

// load takes over the parameters of a checkpoint.
func (w weights) load(c *runs.Checkpoint, owner models.Owner) {
	for _, t := range c.Tensors {
		if !optim.IsState(t.Name) {
			w[string(owner)+"/"+t.Name] = t.Data
		}
	}
}

// learner is what one stage trains: its parameters, their optimizer, its loss.
type learner struct {
	stage     string
	params    []models.NetParam
	values    [][]float32
	grads     [][]float32 // as the executor leaves them after a pass
	sums      [][]float32 // over the passes of a step; nil for one pass
	optimizer optim.Optimizer
	loss      []float32 // one element, as the executor leaves it
	stepLoss  float64   // mean over the passes of the last step
}

// newLearner makes the learner of a stage; grad gives the storage in which the
// executor leaves a parameter's gradient.
func newLearner(s *trainStage, w weights, grad func(models.NetParam) []float32, passes int, pool *cpu.Pool) (l *learner, err error) {
	l = &learner{stage: s.Name}
	var params []optim.Param
	for _, p := range s.trained() {
		g, value := grad(p), w[p.Leaf()]
		l.params = append(l.params, p)
		l.values = append(l.values, value)
		l.grads = append(l.grads, g)
		if passes > 1 {
			g = make([]float32, len(g))
			l.sums = append(l.sums, g)
		}
		params = append(params, optim.Param{Name: p.Name, Value: value, Grad: g, Decay: p.Decay})
	}
	l.optimizer, err = optim.New(optim.NameAdamW, params, optim.Config{
		Beta1: s.recipe.Betas[0], Beta2: s.recipe.Betas[1], Eps: s.recipe.Eps, WeightDecay: s.recipe.WeightDecay,
		Parallel: pool.Each,
	})
	return l, err
}

// accumulate adds the gradients of a pass, so that a step's are the mean over
// its passes.
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

// notFinite names a parameter with a value that is not finite, and the value.
func (l *learner) notFinite() (what string, value float64) {
	for i, values := range l.values {
		for _, x := range values {
			if v := float64(x); math.IsNaN(v) || math.IsInf(v, 0) {
				return "parameter " + l.params[i].Name, v
			}
		}
	}
	return "", 0
}

// tensors are the parameters under timm's names, and the optimizer's state.
func (l *learner) tensors() []safetensors.Tensor {
	var all []safetensors.Tensor
	shapes := map[string][]int{}
	for i, p := range l.params {
		shapes[p.Name] = p.Shape
		all = append(all, safetensors.Tensor{Name: p.Name, Shape: p.Shape, Data: l.values[i]})
	}
	for name, data := range l.optimizer.State() {
		shape, ok := shapes[optim.StateOf(name)]
		if !ok {
			shape = []int{len(data)}
		}
		all = append(all, safetensors.Tensor{Name: name, Shape: shape, Data: data})
	}
	return all
}

// restore takes over parameters and optimizer state of a checkpoint.
func (l *learner) restore(c *runs.Checkpoint) error {
	for i, p := range l.params {
		t, ok := c.Tensor(p.Name)
		if !ok || len(t.Data) != len(l.values[i]) {
			return mismatch(p.Name, t, ok, p.Shape)
		}
		copy(l.values[i], t.Data)
	}
	return l.optimizer.Load(func(name string) []float32 {
		t, _ := c.Tensor(name)
		return t.Data
	})
}

// Package host is the backend of the processor: plans of package graph run by
// package cpu, optimizers of package optim, all in the memory of this process.
package host

import (
	"hatchery/engine/backend"
	"hatchery/engine/cpu"
	"hatchery/engine/graph"
	"hatchery/models"
)

// Host is the processor.
type Host struct{ pool *cpu.Pool }

var _ backend.Backend = (*Host)(nil)

// Open returns a backend of that many threads; 0 is one a core. The number
// changes no result.
func Open(threads int) *Host { return &Host{cpu.NewPool(threads)} }

// Close ends the threads.
func (h *Host) Close() error {
	h.pool.Close()
	return nil
}

// Info implements backend.Backend.
func (h *Host) Info() backend.Info {
	return backend.Info{Kind: "cpu", Name: "cpu", EvalBatch: 100, Parallel: 1}
}

// recomputed is what the backward pass computes again: the output of a
// LayerNorm is an eighth of what a block keeps, and one pass over its input.
var recomputed = map[string]bool{"layer_norm": true}

// passImages is how many images of a job go forward and backward at once.
func passImages(j *backend.Job) int {
	if j.Recipe.MicroBatch > 0 {
		return j.Recipe.MicroBatch
	}
	return j.Recipe.Batch
}

// build builds the graph of a whole job, plans it and returns the gradients'
// nodes by the leaf of their parameter.
func build(j *backend.Job) (g *models.Graph, plan *graph.Plan, grads map[string]*graph.Node, err error) {
	all := make([]int, len(j.Learners))
	for i := range all {
		all[i] = i
	}
	o := models.BuildOptions{Batch: passImages(j), Recompute: recomputed}
	if g, err = j.Build(all, o); err != nil {
		return nil, nil, nil, err
	}
	wanted, err := g.Gradients(g.Loss)
	if err != nil {
		return nil, nil, nil, err
	}
	grads = map[string]*graph.Node{}
	for i, p := range g.Params() {
		grads[p.Name()] = wanted[i]
	}
	for _, o := range g.Outputs {
		wanted = append(wanted, o.Loss)
	}
	plan, err = g.Plan(wanted...)
	return g, plan, grads, err
}

// Plan says what memory a job takes, without making it.
func Plan(j *backend.Job) (backend.Memory, error) {
	var m backend.Memory
	_, plan, _, err := build(j)
	if err != nil {
		return m, err
	}
	m.Activations = 4 * int64(plan.Arena)
	seen := map[string]bool{}
	for _, l := range j.Learners {
		for _, p := range l.Network.Params() {
			if seen[p.Leaf()] {
				continue
			}
			seen[p.Leaf()] = true
			bytes := 4 * int64(p.Size())
			m.Weights += bytes
			if !p.Frozen {
				m.Gradients += bytes
				m.Optimizer += 2 * bytes
				if j.Recipe.EMA > 0 {
					m.Optimizer += bytes
				}
			}
		}
	}
	return m, nil
}

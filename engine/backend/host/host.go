// Package host is the backend of the CPU. It runs plans of package graph with package cpu
// and optimizers of package optim, all in the memory of this process.
package host

import (
	"context"

	"hatchery/engine/backend"
	"hatchery/engine/cpu"
	"hatchery/engine/graph"
	"hatchery/models"
)

// Host is the CPU as a backend.
type Host struct{ pool *cpu.Pool }

var _ backend.Backend = (*Host)(nil)

// Open returns a backend with the given number of threads; 0 means one per core. The
// number does not change results.
func Open(threads int) *Host { return &Host{cpu.NewPool(threads)} }

// Close ends the threads.
func (h *Host) Close() error {
	h.pool.Close()
	return nil
}

// Info implements backend.Backend.
func (h *Host) Info() backend.Info {
	return backend.Info{Kind: "cpu", Name: "cpu", EvalBatch: EvalBatch}
}

// EvalBatch is the batch size of evaluation, if memory suffices.
const EvalBatch = 100

// recomputed lists the kernels that the backward pass computes again: the outputs of
// LayerNorms are an eighth of what a block keeps, and each takes one pass over its input.
var recomputed = map[string]bool{"layer_norm": true}

// passImages returns the number of images in one forward and backward pass of a job.
func passImages(j *backend.Job) int {
	if j.Recipe.MicroBatch > 0 {
		return j.Recipe.MicroBatch
	}
	return j.Recipe.Batch
}

// build builds and plans the graph of a whole job. grads maps the leaf of a parameter to
// the node of its gradient.
func build(ctx context.Context, j *backend.Job) (g *models.Graph, plan *graph.Plan, grads map[string]*graph.Node, err error) {
	all := make([]int, len(j.Learners))
	for i := range all {
		all[i] = i
	}
	o := models.BuildOptions{Batch: passImages(j), Recompute: recomputed}
	if g, err = j.Build(ctx, all, o); err != nil {
		return nil, nil, nil, err
	}
	wanted, err := g.Gradients(ctx, g.Loss)
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

func arenaBytes(p *graph.Plan) int64 { return 4 * int64(p.Arena) }

// Evaluation describes an evaluation, on its own or during the training of a job.
type Evaluation struct {
	Networks []models.Network
	MaxBatch int // images, as in backend.Trainer
}

// Plan returns the memory that a job and its evaluation take with the given number of
// threads, and the batch size of the evaluation. It does not allocate that memory.
func Plan(ctx context.Context, j *backend.Job, threads int, e Evaluation) (m backend.Memory, evalBatch int, err error) {
	g, plan, grads, err := build(ctx, j)
	if err != nil {
		return m, 0, err
	}
	isParam := parameters(g)
	graded, evaluation, evalBatch, err := buildEvaluation(ctx, e.Networks, e.MaxBatch, arenaBytes(plan))
	if err != nil {
		return m, 0, err
	}
	training, err := cpu.Measure(plan, threads, isParam)
	if err != nil {
		return m, 0, err
	}
	grading, err := cpu.Measure(evaluation, threads, parameters(graded))
	if err != nil {
		return m, 0, err
	}
	if m.Activations = training.Arena; grading.Arena > training.Arena {
		m.Activations += grading.Arena // evaluation has an arena of its own
	}
	m.Buffers = training.Values + grading.Values + max(training.Scratch, grading.Scratch)
	for _, grad := range grads { // gradients are wanted values, which Buffers counts so far
		bytes := 4 * int64(plan.Value(grad).Elements())
		m.Gradients += bytes
		m.Buffers -= bytes
	}
	if passImages(j) < j.Recipe.Batch {
		m.Gradients *= 2 // the sums over the passes
	}
	seen := map[string]bool{}
	weight := func(name string, bytes int64) {
		if !seen[name] {
			seen[name] = true
			m.Weights += bytes
		}
	}
	for _, v := range plan.Leaves() { // including a teacher's
		if isParam(v.Name) {
			weight(v.Name, 4*int64(v.Elements()))
		}
	}
	for i := range j.Learners {
		for _, p := range j.Learners[i].Network.Params() {
			weight(p.Leaf(), 4*int64(p.Size()))
		}
		for _, p := range j.Learners[i].Trained() {
			m.Optimizer += 2 * 4 * int64(p.Size())
			if j.Recipe.EMA > 0 {
				m.Optimizer += 4 * int64(p.Size())
			}
		}
	}
	return m, evalBatch, nil
}

// PlanEvaluation returns the memory that an evaluation without training takes with the
// given number of threads, and its batch size.
func PlanEvaluation(ctx context.Context, e Evaluation, threads int) (m backend.Memory, evalBatch int, err error) {
	g, plan, evalBatch, err := buildEvaluation(ctx, e.Networks, e.MaxBatch, evalArena)
	if err != nil {
		return m, 0, err
	}
	isParam := parameters(g)
	f, err := cpu.Measure(plan, threads, isParam)
	m.Activations, m.Buffers = f.Arena, f.Values+f.Scratch
	for _, v := range plan.Leaves() {
		if isParam(v.Name) {
			m.Weights += 4 * int64(v.Elements())
		}
	}
	return m, evalBatch, err
}

// parameters returns a function that reports whether a leaf of a graph is a parameter,
// rather than an input of each pass.
func parameters(g *models.Graph) func(leaf string) bool {
	inputs := map[string]bool{g.Images.Name(): true, g.Targets.Name(): true}
	for _, d := range g.DropPaths {
		inputs[d.Node.Name()] = true
	}
	return func(leaf string) bool { return !inputs[leaf] }
}

package cuda

import (
	"context"
	"fmt"
	"strings"

	"hatchery/engine/backend"
	"hatchery/engine/cuda/blas"
	"hatchery/engine/cuda/kernels"
	"hatchery/engine/cuda/lower"
	"hatchery/engine/optim"
	"hatchery/engine/quantity"
	"hatchery/models"
)

// prepared is a job, or the part of it that one device does, ready to be put on
// that device: nothing of this needs a GPU.
type prepared struct {
	graph     *models.Graph
	params    *lower.Params
	program   *lower.Program
	micro     int // images of a pass
	recompute []string
	bytes     memory
}

// memory is what a prepared job takes on a device, bytes.
type memory struct{ activations, gradients, weights, optimizer, ema, rest int64 }

func (m memory) total() int64 {
	return m.activations + m.gradients + m.weights + m.optimizer + m.ema + m.rest
}

// recomputations are what the backward pass may compute again, from what costs
// nothing to what saves most: the output of a LayerNorm is one token tensor of
// the twelve that a block keeps, that of a GELU four.
var recomputations = [][]string{nil, {"layer_norm"}, {"layer_norm", "gelu"}}

// evalBatch is how many images are evaluated at once.
const evalBatch = 256

// request is what a job is to be prepared for.
type request struct {
	job      *backend.Job
	learners []int // those of the job that the device trains
	dtype    kernels.DType
	exists   func(blas.Gemm) bool // which products there are; nil: any
	choose   func(blas.Gemm) bool // which of them a step is to use; nil: all
	budget   int64                // bytes that may be used; 0: any
}

// prepare finds the way of carrying out a job that fits the memory: the
// recipe's passes with nothing computed twice if possible, else with more
// recomputed, else in smaller passes. Only of that one are products chosen, which
// takes time. remark says what was found where that is not the first.
func prepare(ctx context.Context, r request) (p *prepared, remark string, err error) {
	recipe := r.job.Recipe
	first := recipe.Batch
	if recipe.MicroBatch > 0 {
		first = recipe.MicroBatch
	}
	var least, most int64
	for micro := first; ; micro = smaller(recipe.Batch, micro) {
		if micro == 0 {
			return nil, "", fmt.Errorf("the GPU has %s free and training needs at least %s, one image at a time", quantity.Bytes(r.budget), quantity.Bytes(least))
		}
		for _, again := range recomputations {
			p, err := r.build(ctx, micro, again, r.exists)
			if err != nil {
				return nil, "", err
			}
			need := p.bytes.total()
			if most == 0 {
				most = need
			}
			least = need
			if r.budget > 0 && need > r.budget {
				continue
			}
			if r.choose != nil {
				chosen, err := r.build(ctx, micro, again, r.choose)
				if err != nil {
					return nil, "", err
				}
				if r.budget <= 0 || chosen.bytes.total() <= r.budget { // a kernel more may need a tensor more
					p = chosen
				}
			}
			if micro == first && again == nil {
				return p, "", nil
			}
			return p, p.remark(recipe.Batch, most, r.budget), nil
		}
	}
}

// smaller returns the greatest divisor of batch up to half of micro; 0 after 1.
func smaller(batch, micro int) int {
	for n := micro / 2; n > 0; n-- {
		if batch%n == 0 {
			return n
		}
	}
	return 0
}

func (p *prepared) remark(batch int, most, budget int64) string {
	var how []string
	if passes := batch / p.micro; passes > 1 {
		how = append(how, fmt.Sprintf("in %d passes of %d images", passes, p.micro))
	}
	if len(p.recompute) > 0 {
		how = append(how, "computing "+strings.Join(p.recompute, " and ")+" twice")
	}
	return fmt.Sprintf("trains %s, which takes %s: otherwise it would take %s, and %s are free",
		strings.Join(how, " and "), quantity.Bytes(p.bytes.total()), quantity.Bytes(most), quantity.Bytes(budget))
}

// build lowers the job's part with passes of micro images, and with the products
// of a step that supports says.
func (r request) build(ctx context.Context, micro int, again []string, supports func(blas.Gemm) bool) (*prepared, error) {
	recipe := r.job.Recipe
	recompute := map[string]bool{}
	for _, k := range again {
		recompute[k] = true
	}
	p := &prepared{micro: micro, recompute: again}
	var err error
	o := models.BuildOptions{Batch: micro, Recompute: recompute}
	if p.graph, err = r.job.Build(ctx, r.learners, o); err != nil {
		return nil, err
	}
	var trained [][]models.NetParam
	var networks []models.Network
	for _, l := range r.learners {
		trained = append(trained, r.job.Learners[l].Trained())
		networks = append(networks, r.job.Learners[l].Network)
		if recipe.EMA > 0 {
			networks = append(networks, r.job.Learners[l].Network.EMA())
		}
	}
	eval, err := models.BuildEvaluation(ctx, networks, models.BuildOptions{Batch: evalBatch})
	if err != nil {
		return nil, err
	}
	if p.params, err = lower.NewParams(trained, lower.Frozen(trained, p.graph, eval)); err != nil {
		return nil, err
	}
	options := lower.Options{T: r.dtype, Batch: recipe.Batch, Supports: supports, Pixels: (*lower.Pixels)(r.job.Pixels)}
	opt := lower.Optimizer{Beta1: recipe.Betas[0], Beta2: recipe.Betas[1], Eps: recipe.Eps, WeightDecay: recipe.WeightDecay, Clip: recipe.ClipGrad,
		EMADecay: recipe.EMA, LAMB: recipe.Optimizer == optim.NameLAMB}
	if p.program, err = lower.Training(ctx, p.graph, p.params, opt, options); err != nil {
		return nil, err
	}
	options.Batch, options.Supports = evalBatch, r.exists
	evaluation, err := lower.Evaluation(eval, p.params, options)
	if err != nil {
		return nil, err
	}
	streams := int64(p.program.Streams + evaluation.Streams)
	p.bytes = memory{
		activations: p.program.ArenaBytes,
		gradients:   4 * int64(p.params.GradElements),
		weights:     weightBytes(p.params, r.dtype),
		optimizer:   8 * int64(p.params.Trained),
		ema:         emaBytes(p.params, recipe.EMA, r.dtype),
		rest: inputCopies*p.program.InputBytes + p.program.ResultBytes + int64(p.params.TableBytes) +
			evaluation.ArenaBytes + inputCopies*evaluation.InputBytes + evaluation.ResultBytes + streams*workspace,
	}
	return p, nil
}

// weightBytes is what parameters take, with the copies that products read.
func weightBytes(p *lower.Params, t kernels.DType) int64 {
	if t == kernels.BF16 {
		return 6 * int64(p.Elements)
	}
	return 4 * int64(p.Elements)
}

// emaBytes is what moving averages take.
func emaBytes(p *lower.Params, decay float64, t kernels.DType) int64 {
	switch {
	case decay == 0:
		return 0
	case t == kernels.BF16:
		return 6 * int64(p.Trained)
	}
	return 4 * int64(p.Trained)
}

const (
	// inputCopies of a batch are on the device: the one that is used, and two
	// that arrive.
	inputCopies = 3
	// workspace is what cuBLAS has on each stream (blas.WorkspaceBytes).
	workspace = 32 << 20
)

// Plan says what memory a job takes on the worst of several GPUs, which need
// not be there, and how it would be carried out where that is not the plain way.
// Where the GPUs are known, it counts on all of their memory.
func Plan(ctx context.Context, j *backend.Job, gpus []int) (m backend.Memory, remark string, err error) {
	var worst memory
	for i, part := range spread(len(j.Learners), len(gpus)) {
		total := capacity(gpus[i])
		p, how, err := prepare(ctx, request{job: j, learners: part, dtype: kernels.BF16, budget: total - spare(total)})
		if err != nil {
			return m, "", err
		}
		if p.bytes.total() > worst.total() {
			worst, remark = p.bytes, how
		}
	}
	return backend.Memory{Activations: worst.activations + worst.rest, Gradients: worst.gradients, Weights: worst.weights, Optimizer: worst.optimizer + worst.ema}, remark, nil
}

// Placement says which of several GPUs trains which learners of a job; empty if
// one trains them all.
func Placement(j *backend.Job, gpus []int) string {
	parts := spread(len(j.Learners), len(gpus))
	if len(parts) < 2 {
		return ""
	}
	var all []string
	for i, part := range parts {
		var names []string
		for _, l := range part {
			names = append(names, j.Learners[l].Stage)
		}
		all = append(all, fmt.Sprintf("cuda:%d trains %s", gpus[i], strings.Join(names, ", ")))
	}
	return strings.Join(all, "; ")
}

// spare is what is left free on a device for what its driver needs beside our
// allocations: kernels' code, graphs, fragments.
func spare(free int64) int64 { return min(512<<20, free/10) }

// spread divides learners among devices, neighbours together, as evenly as
// possible; devices for which there is none are left out.
func spread(learners, devices int) [][]int {
	devices = min(learners, devices)
	parts := make([][]int, devices)
	for i := range learners {
		d := i * devices / learners
		parts[d] = append(parts[d], i)
	}
	return parts
}

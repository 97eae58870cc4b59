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

// prepared is a job, or one device's part of it, after lowering. Preparing needs no GPU.
type prepared struct {
	graph     *models.Graph
	params    *lower.Params
	program   *lower.Program
	micro     int // images in a pass
	recompute []string
	bytes     memory
}

// memory is the device memory of a prepared job, in bytes.
type memory struct{ activations, gradients, weights, optimizer, ema, rest int64 }

func (m memory) total() int64 {
	return m.activations + m.gradients + m.weights + m.optimizer + m.ema + m.rest
}

// recomputations lists sets of kernels that the backward pass may compute again, in the
// order of increasing cost and savings: a block keeps twelve token tensors, of which the
// output of a LayerNorm is one and that of a GELU four.
var recomputations = [][]string{nil, {"layer_norm"}, {"layer_norm", "gelu"}}

// evalBatch is the batch size of evaluation.
const evalBatch = 256

// request is the input of prepare.
type request struct {
	job      *backend.Job
	learners []int // of the job, which the device trains
	dtype    kernels.DType
	exists   func(blas.Gemm) bool // whether a product is supported; nil: all are
	choose   func(blas.Gemm) bool // whether a step should use a supported product; nil: all
	budget   int64                // bytes that may be used; 0: no limit
}

// prepare lowers a job so that it fits into the memory: with the recipe's passes and
// without recomputation if possible, else with more recomputation, else in smaller passes.
// Choosing products takes time, so that is done only for the final variant. remark
// describes the variant if it is not the first one.
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
		for _, recompute := range recomputations {
			p, err := r.build(ctx, micro, recompute, r.exists)
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
				chosen, err := r.build(ctx, micro, recompute, r.choose)
				if err != nil {
					return nil, "", err
				}
				if r.budget <= 0 || chosen.bytes.total() <= r.budget { // separate kernels may need more tensors
					p = chosen
				}
			}
			if micro == first && recompute == nil {
				return p, "", nil
			}
			return p, p.remark(recipe.Batch, most, r.budget), nil
		}
	}
}

// smaller returns the greatest divisor of batch that is at most micro/2, or 0 if micro is 1.
func smaller(batch, micro int) int {
	for n := micro / 2; n > 0; n-- {
		if batch%n == 0 {
			return n
		}
	}
	return 0
}

func (p *prepared) remark(batch int, most, budget int64) string {
	var measures []string
	if passes := batch / p.micro; passes > 1 {
		measures = append(measures, fmt.Sprintf("in %d passes of %d images", passes, p.micro))
	}
	if len(p.recompute) > 0 {
		measures = append(measures, "computing "+strings.Join(p.recompute, " and ")+" twice")
	}
	return fmt.Sprintf("trains %s, which takes %s: otherwise it would take %s, and %s are free",
		strings.Join(measures, " and "), quantity.Bytes(p.bytes.total()), quantity.Bytes(most), quantity.Bytes(budget))
}

// build lowers the device's part of the job with passes of micro images. supports reports
// which products a step may use.
func (r request) build(ctx context.Context, micro int, kernelNames []string, supports func(blas.Gemm) bool) (*prepared, error) {
	recipe := r.job.Recipe
	recompute := map[string]bool{}
	for _, k := range kernelNames {
		recompute[k] = true
	}
	p := &prepared{micro: micro, recompute: kernelNames}
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

// weightBytes returns the memory of parameters and of their copies for products.
func weightBytes(p *lower.Params, t kernels.DType) int64 {
	if t == kernels.BF16 {
		return 6 * int64(p.Elements)
	}
	return 4 * int64(p.Elements)
}

// emaBytes returns the memory of moving averages and of their copies for products.
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
	// inputCopies is the number of batches on the device: the program's input and two
	// staging buffers.
	inputCopies = 3
	// workspace is the memory of cuBLAS for each stream (blas.WorkspaceBytes).
	workspace = 32 << 20
)

// Plan returns the memory that a job takes on the GPU that needs most, and a remark if the
// job is not carried out in the default way. The GPUs need not exist; if they do, Plan
// assumes that all of their memory is free.
func Plan(ctx context.Context, j *backend.Job, gpus []int) (m backend.Memory, remark string, err error) {
	var worst memory
	for i, part := range spread(len(j.Learners), len(gpus)) {
		total := capacity(gpus[i])
		p, text, err := prepare(ctx, request{job: j, learners: part, dtype: kernels.BF16, budget: total - spare(total)})
		if err != nil {
			return m, "", err
		}
		if p.bytes.total() > worst.total() {
			worst, remark = p.bytes, text
		}
	}
	return backend.Memory{Activations: worst.activations + worst.rest, Gradients: worst.gradients, Weights: worst.weights, Optimizer: worst.optimizer + worst.ema}, remark, nil
}

// Placement describes which GPU trains which learners of a job. It returns "" if one GPU
// trains them all.
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

// spare returns the memory to leave free on a device for the needs of its driver, such as
// the code of kernels and graphs, and for fragmentation.
func spare(free int64) int64 { return min(512<<20, free/10) }

// spread divides learners among devices as evenly as possible, in consecutive groups. If
// there are fewer learners than devices, the last devices get none and are left out.
func spread(learners, devices int) [][]int {
	devices = min(learners, devices)
	parts := make([][]int, devices)
	for i := range learners {
		d := i * devices / learners
		parts[d] = append(parts[d], i)
	}
	return parts
}

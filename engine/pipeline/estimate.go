package pipeline

import (
	"context"
	"fmt"
	"runtime"

	"golang.org/x/sync/errgroup"

	"hatchery/datasets"
	"hatchery/engine/backend"
	"hatchery/engine/backend/host"
	"hatchery/engine/cuda"
	"hatchery/engine/limits"
	"hatchery/engine/method"
	"hatchery/models"
	"hatchery/presets"
)

// Estimate is the expected cost of a stage, before it starts.
type Estimate struct {
	method.Stage
	GroupSize int         // number of stages in the graph, this one included
	Network   models.Cost // of the trained or assembled network; the sum if stages are together
	Epochs    int
	Steps     int            // of the optimizer, in all epochs
	Samples   int            // images that pass forward and backward, in all epochs
	Peak      backend.Memory // of the device that computes, the fullest of several
	Process   Process        // what the process needs besides Peak
	Device    string         // its kind: "cpu", "cuda"
	Remark    string         // how the stage will be trained, if not in the simplest manner
	Placement string         // which GPU trains which stage; empty if there is no choice

	Checkpoints []Files // one entry for each stage
}

// Process is the memory in bytes that this process needs in addition to Estimate.Peak. It is
// zero for a stage on a GPU, for which only the GPU's memory is estimated.
type Process struct {
	Program   int64 // code, the runtime and the run's events
	Data      int64 // images
	Batches   int64 // prepared batches for training and evaluation
	Garbage   int64 // garbage that has not been collected yet
	Preparing int64 // temporary memory, before the first step, beyond the sum of the above

	// Resuming is temporary memory, when the stages resume from checkpoints, beyond the
	// sum of the above.
	Resuming int64
}

// program is the measured memory in bytes of a process before it starts a stage.
const program = 24 << 20

// Total returns the sum of all fields except Resuming.
func (p Process) Total() int64 { return p.Program + p.Data + p.Batches + p.Garbage + p.Preparing }

// Files are the checkpoints of a stage on disk.
type Files struct {
	Stage string
	Bytes int64 // size of one checkpoint
	Kept  int   // number of checkpoints that are kept
}

// Memory returns the estimated peak in bytes of the GPU's memory or, for a stage on the CPU,
// of the memory of the whole process.
func (e Estimate) Memory() int64 { return e.Peak.Total() + e.Process.Total() }

// MACs returns the number of multiply-accumulates of all training steps. It can exceed an
// int64.
func (e Estimate) MACs() float64 { return float64(e.Network.Step) * float64(e.Samples) }

// MethodMACs returns the number of multiply-accumulates of all training steps of a method.
func MethodMACs(name string, estimates []Estimate) (sum float64) {
	for _, e := range estimates {
		if e.PartOf(name) {
			sum += e.MACs()
		}
	}
	return sum
}

// Plan estimates every stage of an experiment, for the given number of images per epoch.
// Stages that are trained together (presets.Run.Together) have one estimate, under the name
// of the first. Plan returns the error of ctx when that is done.
func Plan(ctx context.Context, c *presets.Config, images int) ([]Estimate, error) {
	return planStages(ctx, c, images, method.Stages(c))
}

// planStages is Plan for some of the stages.
func planStages(ctx context.Context, c *presets.Config, images int, stages []method.Stage) ([]Estimate, error) {
	d, err := division(c)
	if err != nil {
		return nil, err
	}
	on, err := device(c)
	if err != nil {
		return nil, err
	}
	all := groups(c, stages)
	estimates := make([]Estimate, len(all))
	work, ctx := errgroup.WithContext(ctx) // building the graphs of deep networks takes seconds
	work.SetLimit(runtime.GOMAXPROCS(0))
	for i, group := range all {
		s := group[0]
		if !s.Trains() {
			work.Go(func() (err error) {
				estimates[i], err = estimateAssembling(ctx, c, s, d, on)
				return err
			})
			continue
		}
		work.Go(func() (err error) {
			var stages []*trainStage
			for _, s := range group {
				stages = append(stages, newTrainStage(c, d, s))
			}
			estimates[i], err = estimate(ctx, c, stages, images, on)
			return err
		})
	}
	return estimates, work.Wait()
}

func estimate(ctx context.Context, c *presets.Config, stages []*trainStage, images int, on presets.Device) (Estimate, error) {
	r := stages[0].recipe
	e := Estimate{Stage: stages[0].Stage, GroupSize: len(stages), Epochs: r.Epochs, Device: on.Kind}
	perEpoch := images / r.Batch
	e.Steps = perEpoch * r.Epochs
	e.Samples = e.Steps * r.Batch
	var err error
	if on.Kind == "cpu" {
		var evalBatch int
		e.Peak, evalBatch, err = host.Plan(ctx, job(stages, nil, 0), threads(c), evaluation(c, evalNetworks(stages)))
		e.estimateProcess(c, stages, evalBatch)
	} else {
		j := job(stages, nil, 0)
		e.Placement = cuda.Placement(j, on.GPUs)
		e.Peak, e.Remark, err = cuda.Plan(ctx, j, on.GPUs)
	}
	if err != nil {
		return e, fmt.Errorf("%s: %w", e.Name, err)
	}
	seen := map[string]bool{}
	for _, s := range stages {
		e.Checkpoints = append(e.Checkpoints, s.files())
		cost := s.network.Cost()
		e.Network.Forward += cost.Forward
		e.Network.Step += cost.Step
		for _, p := range s.network.Params() {
			if seen[p.Leaf()] {
				continue
			}
			seen[p.Leaf()] = true
			e.Network.Params += int64(p.Size())
			if !p.Frozen {
				e.Network.Trainable += int64(p.Size())
			}
		}
	}
	return e, nil
}

// estimateAssembling estimates a stage that assembles: it reads the modules, evaluates the
// network and writes its weights.
func estimateAssembling(ctx context.Context, c *presets.Config, s method.Stage, d models.Division, on presets.Device) (Estimate, error) {
	n := s.Network(d)
	e := Estimate{Stage: s, GroupSize: 1, Network: n.Cost(), Device: on.Kind}
	file := Files{Stage: s.Name, Kept: 1}
	for _, p := range n.Params() {
		file.Bytes += tensorBytes(p.Size())
	}
	e.Checkpoints = []Files{file}
	if on.Kind != "cpu" {
		return e, nil
	}
	peak, evalBatch, err := host.PlanEvaluation(ctx, evaluation(c, []models.Network{n}), threads(c))
	if err != nil {
		return e, fmt.Errorf("%s: %w", s.Name, err)
	}
	e.Peak = peak
	options := datasets.Options{Batch: evalBatch, Size: n.Image, Prefetch: prefetch, Workers: threads(c)}
	_, evalImages := setSizes(c)
	e.Process.Batches = options.Memory(n.Channels, n.Classes, evalImages)
	e.estimateHeap(c)
	// A module's optimizer state is read with its weights. It becomes garbage when the
	// next module is read.
	moments := 4 * peak.Weights / int64(c.Modules.K)
	e.Process.Preparing = max(e.Process.Preparing, moments-peak.Activations-peak.Buffers-e.Process.Batches-e.Process.Garbage)
	return e, nil
}

// evaluation describes an evaluation of networks on the CPU.
func evaluation(c *presets.Config, networks []models.Network) host.Evaluation {
	most := host.EvalBatch
	if _, images := setSizes(c); images > 0 {
		most = min(most, images)
	}
	return host.Evaluation{Networks: networks, MaxBatch: most}
}

// setSizes returns the numbers of training and evaluation images, 0 if they are known only
// from the data set's files.
func setSizes(c *presets.Config) (train, eval int) {
	if d, err := datasets.Describe(c.Data.Name); err == nil {
		train, eval = d.Train, d.Eval
	}
	if c.Data.Train > 0 {
		train = c.Data.Train
	} else if c.Data.Fraction > 0 {
		train = int(c.Data.Fraction * float64(train))
	}
	if c.Data.Eval > 0 {
		eval = c.Data.Eval
	}
	return train, eval
}

// estimateProcess sets e.Process for stages that are trained together.
func (e *Estimate) estimateProcess(c *presets.Config, stages []*trainStage, evalBatch int) {
	v := stages[0].network.ViT
	train, eval := setSizes(c)
	o := datasets.Options{Batch: stages[0].recipe.Batch, Size: v.Image, Prefetch: prefetch, Workers: threads(c)}
	e.Process.Batches = o.Memory(v.Channels, v.Classes, train)
	o.Batch = evalBatch
	e.Process.Batches += o.Memory(v.Channels, v.Classes, eval)
	e.estimateHeap(c)
	if stages[0].Module > 0 && c.Data.Partition {
		e.Process.Data += e.Process.Data / int64(c.Modules.K)
	}
	// When stages resume, the checkpoints and the tensors that they are copied to are in
	// memory at the same time, before anything else is allocated.
	later := e.Process.Preparing + e.Peak.Activations + e.Peak.Gradients + e.Peak.Buffers + e.Process.Batches + e.Process.Garbage
	var read int64
	for _, s := range stages {
		read += s.files().Bytes
	}
	e.Process.Resuming = max(0, read-later)
}

// estimateHeap sets the fields of e.Process that do not depend on the kind of stage. It uses
// e.Peak and e.Process.Batches.
func (e *Estimate) estimateHeap(c *presets.Config) {
	open, opening, _ := Source(c).Memory() // an unknown data set has been rejected before
	e.Process.Program, e.Process.Data = program, open
	e.Process.Garbage = limits.Garbage(e.Peak.Total() + e.Process.Batches + e.Process.Data)
	e.Process.Preparing = max(0, opening-open-e.Peak.Total()-e.Process.Batches-e.Process.Garbage)
}

// files describes the checkpoints of a stage: the last two and the best one, unless that is
// always the last one.
func (s *trainStage) files() Files {
	f := Files{Stage: s.Name, Kept: 3}
	if every := s.recipe.EvalEvery; every <= 0 || every >= s.recipe.Epochs {
		f.Kept = 2
	}
	copies := 3 // the weights and the optimizer's two moments
	if s.recipe.EMA > 0 {
		copies++
	}
	l := backend.Learner{Network: s.network}
	for _, p := range l.Trained() {
		f.Bytes += int64(copies) * tensorBytes(p.Size())
	}
	return f
}

// tensorBytes returns the estimated size in bytes of a tensor in a checkpoint, including its
// entry in the header.
func tensorBytes(elements int) int64 { return 4*int64(elements) + 110 }

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

// Estimate says, before a stage starts, what it will take.
type Estimate struct {
	method.Stage
	Together int         // number of stages in the graph, this one included
	Network  models.Cost // of the trained or assembled network; the sum if stages are together
	Epochs   int
	Steps    int            // of the optimizer, in all epochs
	Samples  int            // images that pass forward and backward, in all epochs
	Peak     backend.Memory // of the device that computes, the fullest of several
	Beside   Process        // what the process needs besides Peak
	Device   string         // its kind: "cpu", "cuda"
	Remark   string         // how the stage will be trained, if not in the simplest way
	Where    string         // which of several GPUs trains which stage; empty if there is no choice

	Checkpoints []Files // of each stage
}

// Process is the memory in bytes that this process needs besides what a stage computes
// with. It is all 0 for a stage on a GPU, where only the GPU's memory counts.
type Process struct {
	Program   int64 // code, the runtime and the run's events
	Data      int64 // images
	Batches   int64 // prepared for training and for evaluation
	Garbage   int64 // not collected yet
	Preparing int64 // more than all of these, for a moment before the first step, while images are read

	// Resuming is how much more than all of these is needed for a moment when the
	// stages resume from checkpoints.
	Resuming int64
}

// program is the memory of a process before it has anything to compute, as measured.
const program = 24 << 20

// Total is the sum of all fields except Resuming.
func (p Process) Total() int64 { return p.Program + p.Data + p.Batches + p.Garbage + p.Preparing }

// Files are the checkpoints of a stage on disk.
type Files struct {
	Stage string
	Bytes int64 // of one
	Kept  int   // how many there are at once
}

// Memory is the planned peak of a stage in bytes: of the GPU's memory or, for a stage on
// the processor, of the whole process.
func (e Estimate) Memory() int64 { return e.Peak.Total() + e.Beside.Total() }

// MACs is the multiply-accumulates of all training steps. Large models take
// more than an int64 holds.
func (e Estimate) MACs() float64 { return float64(e.Network.Step) * float64(e.Samples) }

// MethodMACs is the multiply-accumulates of all training steps of a method.
func MethodMACs(name string, estimates []Estimate) (sum float64) {
	for _, e := range estimates {
		if e.PartOf(name) {
			sum += e.MACs()
		}
	}
	return sum
}

// Plan estimates every stage of an experiment on a training set of that many
// images. Stages that run together (presets.Run.Together) share a plan and are
// one entry, under the name of the first. It stops with the error of ctx when that is
// done.
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
	e := Estimate{Stage: stages[0].Stage, Together: len(stages), Epochs: r.Epochs, Device: on.Kind}
	perEpoch := images / r.Batch
	e.Steps = perEpoch * r.Epochs
	e.Samples = e.Steps * r.Batch
	var err error
	if on.Kind == "cpu" {
		var evalBatch int
		e.Peak, evalBatch, err = host.Plan(ctx, job(stages, nil, 0), threads(c), evaluation(c, judgedNetworks(stages)))
		e.process(c, stages, evalBatch)
	} else {
		j := job(stages, nil, 0)
		e.Where = cuda.Placement(j, on.GPUs)
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

// estimateAssembling estimates the stage that assembles: it reads the modules, evaluates
// the network and writes its weights.
func estimateAssembling(ctx context.Context, c *presets.Config, s method.Stage, d models.Division, on presets.Device) (Estimate, error) {
	n := s.Network(d)
	e := Estimate{Stage: s, Together: 1, Network: n.Cost(), Device: on.Kind}
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
	e.Beside.Batches = options.Memory(n.Channels, n.Classes, evalImages)
	e.heap(c)
	// A module's optimizer state is read with its weights, and is garbage when the next
	// module is read.
	moments := 4 * peak.Weights / int64(c.Modules.K)
	e.Beside.Preparing = max(e.Beside.Preparing, moments-peak.Activations-peak.Buffers-e.Beside.Batches-e.Beside.Garbage)
	return e, nil
}

// evaluation describes what the processor evaluates at once.
func evaluation(c *presets.Config, networks []models.Network) host.Evaluation {
	most := host.EvalBatch
	if _, images := setSizes(c); images > 0 {
		most = min(most, images)
	}
	return host.Evaluation{Networks: networks, MaxBatch: most}
}

// setSizes returns the numbers of training and evaluation images, 0 if only the data
// set's files tell.
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

// process estimates the memory that stages that are trained together need besides
// e.Peak.
func (e *Estimate) process(c *presets.Config, stages []*trainStage, evalBatch int) {
	v := stages[0].network.ViT
	train, eval := setSizes(c)
	o := datasets.Options{Batch: stages[0].recipe.Batch, Size: v.Image, Prefetch: prefetch, Workers: threads(c)}
	e.Beside.Batches = o.Memory(v.Channels, v.Classes, train)
	o.Batch = evalBatch
	e.Beside.Batches += o.Memory(v.Channels, v.Classes, eval)
	e.heap(c)
	if stages[0].Module > 0 && c.Data.Partition {
		e.Beside.Data += e.Beside.Data / int64(c.Modules.K)
	}
	// For a moment, checkpoints and the tensors that they are copied to are both in
	// memory, before anything else is.
	later := e.Beside.Preparing + e.Peak.Activations + e.Peak.Gradients + e.Peak.Buffers + e.Beside.Batches + e.Beside.Garbage
	var read int64
	for _, s := range stages {
		read += s.files().Bytes
	}
	e.Beside.Resuming = max(0, read-later)
}

// heap estimates the parts of e.Beside that do not depend on the kind of stage. It needs
// e.Peak and e.Beside.Batches.
func (e *Estimate) heap(c *presets.Config) {
	open, opening, _ := Source(c).Memory() // an unknown set was refused before
	e.Beside.Program, e.Beside.Data = program, open
	e.Beside.Garbage = limits.Garbage(e.Peak.Total() + e.Beside.Batches + e.Beside.Data)
	e.Beside.Preparing = max(0, opening-open-e.Peak.Total()-e.Beside.Batches-e.Beside.Garbage)
}

// files describes the checkpoints of a stage: the last two and the best one, unless that
// is always the last.
func (s *trainStage) files() Files {
	f := Files{Stage: s.Name, Kept: 3}
	if every := s.recipe.EvalEvery; every <= 0 || every >= s.recipe.Epochs {
		f.Kept = 2
	}
	copies := 3 // the weights, and the optimizer's two moments of each
	if s.recipe.EMA > 0 {
		copies++
	}
	l := backend.Learner{Network: s.network}
	for _, p := range l.Trained() {
		f.Bytes += int64(copies) * tensorBytes(p.Size())
	}
	return f
}

// tensorBytes estimates what a tensor takes in a checkpoint, with its entry in the
// header.
func tensorBytes(elements int) int64 { return 4*int64(elements) + 110 }

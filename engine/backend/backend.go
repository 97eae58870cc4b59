// Package backend is the seam between the pipeline and what computes for it:
// the processor (package host) or a GPU (package cuda).
//
// A backend makes a [Trainer] from a [Job] and [Evaluator]s that see what the
// trainer trains. Weights come and go as float32 slices of this process, under
// the names of checkpoints, so that a run can go on on another device.
//
// A device may lag behind its caller: Step and Grade return when the work is in
// its queue, and what it came to is asked for later (Losses, Sums). Nothing that
// is asked for depends on when, or how often, that happens.
package backend

import (
	"context"
	"fmt"
	"math"

	"hatchery/datasets"
	"hatchery/engine/runs/safetensors"
	"hatchery/models"
	"hatchery/presets"
)

// Backend is a device, or several of a kind, that train and evaluate. Its
// methods are for one goroutine, and so are those of what it makes.
type Backend interface {
	// Info says what the backend is.
	Info() Info
	// NewTrainer prepares the training of a job. The job's Weights may become
	// the trainer's own storage.
	NewTrainer(j *Job) (Trainer, error)
	// NewEvaluator prepares the evaluation of networks with weights that do
	// not change, in batches of at most so many images; pixels as in Job.
	NewEvaluator(networks []models.Network, most int, w Weights, pixels *Pixels) (Evaluator, error)
	// Close frees the device; trainers and evaluators must be closed before.
	Close() error
}

// Info is what a backend is.
type Info struct {
	Kind      string // "cpu" or "cuda"
	Name      string // for people: "cpu", "cuda:0 NVIDIA H200"
	EvalBatch int    // how many images are best evaluated at once, if memory suffices; it changes results only by rounding
	Raw       bool   // batches are to come in their raw form (datasets.Options)
}

// Weights are parameters by the name of their leaf (models.NetParam.Leaf).
type Weights map[string][]float32

// Job is the training of one or several learners over the same batches.
type Job struct {
	// Build builds the graph whose output i and its loss belong to learner i
	// of those given, a part of Learners in their order.
	Build    func(ctx context.Context, learners []int, o models.BuildOptions) (*models.Graph, error)
	Learners []Learner
	Recipe   presets.Recipe // what they have in common: batch, drop path, optimizer
	Weights  Weights        // of every parameter of every network
	Seed     uint64
	Purpose  string  // of the random numbers: the same for modules together or alone
	Pixels   *Pixels // of the batches, where Info.Raw asks for raw ones; else nil
	Tunings  Tunings // nil: nothing is chosen by timing
}

// Tunings keeps what a device chose by timing, so that whoever goes on with the
// stages of a job chooses the same and gets the same bits. What is in a tuning is
// the device's business.
type Tunings interface {
	// Load returns the tuning of the job's stages, without data if they have
	// none, and those of other stages of the run.
	Load() (own Tuning, others []Tuning, err error)
	// Save keeps the tuning of the job's stages in place of what Load returned.
	Save(data []byte) error
}

// Tuning is what a file of Tunings holds.
type Tuning struct {
	Path string
	Data []byte
}

// Pixels says what a device makes of raw batches: what datasets.Loader.Finish
// does.
type Pixels struct {
	Mean, Std []float32 // of each channel, of pixels from 0 to 1
	Smoothing float64   // of labels
	Erase     bool      // random erasing is on
	MixBatch  int       // images that are mixed with one another; 0: those of a batch
}

// Learner is what one stage trains.
type Learner struct {
	Stage   string // names it in errors
	Network models.Network

	// DecayTokens subjects pos_embed and cls_token to weight decay.
	DecayTokens bool
}

// Trained lists the parameters that the learner trains, in the order of its
// network.
func (l *Learner) Trained() []models.NetParam {
	var trained []models.NetParam
	for _, p := range l.Network.Params() {
		if !p.Frozen {
			if l.DecayTokens && (p.Name == "pos_embed" || p.Name == "cls_token") {
				p.Decay = true
			}
			trained = append(trained, p)
		}
	}
	return trained
}

// Trainer makes optimizer steps of the learners of a job. If the recipe has an
// EMA, it keeps the average of every trained parameter beside it: in the
// networks of its evaluators under models.Owner.Average, and in a learner's
// tensors under the names of optim.Average.
type Trainer interface {
	// Step makes one optimizer step of every learner, or queues it; the batch
	// may be reused when it returns. An error may be that of an earlier step.
	//
	// Where a loss, or with clipping the norm of a gradient, is not finite the
	// error is a *Diverged, and that learner's weights are what they were
	// before the step it names.
	Step(b *datasets.Batch, lr float64) error

	// Losses waits for the steps and adds the loss of each learner to sums,
	// one after another, for those that no earlier call has added. Its errors
	// are those of Step.
	Losses(sums []float64) error

	// Tensors gives what a checkpoint holds of a learner after the steps made
	// so far: parameters under timm's names, the optimizer's state and the
	// averages (optim.IsState). The data is valid until the next step.
	Tensors(learner int) ([]safetensors.Tensor, error)

	// Restore takes over what Tensors gave. Lookup returns a tensor by name,
	// and whether there is one.
	Restore(learner int, lookup func(name string) (safetensors.Tensor, bool)) error

	// NewEvaluator is Backend.NewEvaluator with the trainer's weights as they
	// are whenever something is graded.
	NewEvaluator(networks []models.Network, most int) (Evaluator, error)

	// Remarks are what a user should know of how the job is carried out, such
	// as smaller passes for want of memory.
	Remarks() []string

	// Device is what computes for a learner. Whoever goes on with a stage on the
	// same device, with nothing chosen anew, gets the same bits.
	Device(learner int) Device

	Close() error
}

// Device is what the bits of a result may depend on beside the recipe.
type Device struct {
	Name      string // of what computes, with its libraries' versions: "cpu"
	ChoseAnew bool   // some of its kernels were chosen by timing, not as Tunings had them
}

// Evaluator grades networks forward only.
type Evaluator interface {
	// Batch is the number of images in a batch.
	Batch() int
	// Grade grades the first b.Size images of a batch, or queues that; the
	// batch may be reused when it returns.
	Grade(b *datasets.Batch) error
	// Sums waits and returns what each network came to since the last call.
	Sums() ([]Sum, error)
	Close() error
}

// Sum is what a network came to over some images.
type Sum struct {
	Loss    float64 // sum of the cross-entropies
	Correct float64 // how many top predictions are right
}

// Meter is a trainer that can say how its devices are.
type Meter interface {
	// Meters returns values for a learner's events by their names in package
	// runs, given the speed of training in images a second. It waits for
	// nothing: what is known is at most some seconds old.
	Meters(learner int, speed float64) map[string]float64
}

// Diverged is training that went to NaN or infinity.
type Diverged struct {
	Stage       string
	What        string // "loss" or "gradient norm"
	Value       float64
	Epoch, Step int
	LR          float64
}

func (d *Diverged) Error() string {
	return fmt.Sprintf("%s: the %s is %v at epoch %d, step %d, with learning rate %.3g; the last checkpoint before it is kept. "+
		"A lower lr, a longer warm-up or gradient clipping may help", d.Stage, d.What, d.Value, d.Epoch+1, d.Step+1, d.LR)
}

// Finite reports whether x is a number.
func Finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// Mismatch is the error for a tensor of a checkpoint that is not what a network
// needs, or is not there.
func Mismatch(p models.Param, t safetensors.Tensor, found bool) error {
	if !found {
		return fmt.Errorf("the checkpoint lacks parameter %s: it is of another network", p.Name)
	}
	return fmt.Errorf("parameter %s has %d elements in the checkpoint, the network needs %v: it is of another network", p.Name, len(t.Data), p.Shape)
}

// Memory is what a job takes at its planned peak, bytes.
type Memory struct {
	Activations int64 // the plan's arena
	Gradients   int64 // of the trained parameters
	Weights     int64 // parameters, frozen ones included
	Optimizer   int64 // its moments, and averages of the weights
	Buffers     int64 // inputs, working space, and what evaluation takes beside; 0 on a GPU, where Activations has them
}

// Total is the sum.
func (m Memory) Total() int64 {
	return m.Activations + m.Gradients + m.Weights + m.Optimizer + m.Buffers
}

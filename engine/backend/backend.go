// Package backend defines the interface between the pipeline and the devices that
// compute for it: the CPU (package host) and GPUs (package cuda).
//
// A backend makes a [Trainer] from a [Job], and [Evaluator]s that evaluate the
// trainer's current weights. Weights are passed as float32 slices under the names
// of checkpoints, so that a run can be resumed on another device.
//
// A device may lag behind its caller: Step and Grade may return when the work is in
// the device's queue; Losses and Sums wait for the results. The results do not depend
// on when, or how often, these are called.
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

// Backend is one device, or several of one kind. Its methods, and those of its trainers
// and evaluators, must be called from one goroutine at a time.
type Backend interface {
	// Info describes the backend.
	Info() Info
	// NewTrainer prepares the training of a job. The trainer may keep the slices of
	// the job's Weights as its storage.
	NewTrainer(j *Job) (Trainer, error)
	// NewEvaluator prepares the evaluation of networks with fixed weights, in batches
	// of at most maxBatch images; pixels is as in Job.
	NewEvaluator(networks []models.Network, maxBatch int, w Weights, pixels *Pixels) (Evaluator, error)
	// Close releases the device. Trainers and evaluators must be closed first.
	Close() error
}

// Info describes a backend.
type Info struct {
	Kind      string // "cpu" or "cuda"
	Name      string // for people: "cpu", "cuda:0 NVIDIA H200"
	EvalBatch int    // the best batch size for evaluation, if memory suffices; it changes results only by rounding
	Raw       bool   // it takes batches in their raw form (datasets.Options)
}

// Weights maps the leaf of a parameter (models.NetParam.Leaf) to its values.
type Weights map[string][]float32

// Job is the training of one or more learners on the same batches.
type Job struct {
	// Build builds the graph of some learners, given by ascending indices into
	// Learners. Output i of the graph belongs to learners[i].
	Build    func(ctx context.Context, learners []int, o models.BuildOptions) (*models.Graph, error)
	Learners []Learner
	Recipe   presets.Recipe // common to all learners: batch, drop path, optimizer
	Weights  Weights        // every parameter of every network
	Seed     uint64
	Purpose  string  // of the random numbers: the same whether modules train together or alone
	Pixels   *Pixels // of raw batches, if Info.Raw is set; else nil
	Tunings  Tunings // nil: nothing is chosen by timing
}

// Tunings stores what a device chose by timing, so that a resumed stage makes the same
// choices and gets the same bits. Only the device knows the format of a tuning.
type Tunings interface {
	// Load returns the tuning of the job's stages, without data if they have
	// none, and the tunings of the run's other stages.
	Load() (own Tuning, others []Tuning, err error)
	// Save replaces the tuning of the job's stages.
	Save(data []byte) error
}

// Tuning is one file of Tunings.
type Tuning struct {
	Path string
	Data []byte
}

// Pixels says how a device turns raw batches into inputs and targets. It does what
// datasets.Loader.Finish does on the CPU.
type Pixels struct {
	Mean, Std []float32 // of each channel, of pixels from 0 to 1
	Smoothing float64   // of labels
	Erase     bool      // random erasing is on
	MixBatch  int       // number of images that are mixed with one another; 0: the batch
}

// Learner is what one stage trains.
type Learner struct {
	Stage   string // for error messages
	Network models.Network

	// DecayTokens applies weight decay to pos_embed and cls_token.
	DecayTokens bool
}

// Trained returns the parameters that the learner trains, in the order of its
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

// Trainer makes optimizer steps for the learners of a job. If the recipe has an EMA, the
// trainer also keeps the moving average of every trained parameter. Networks of its
// evaluators read it under models.Owner.EMA, and Tensors returns it under the names of
// optim.EMA.
type Trainer interface {
	// Step makes, or queues, one optimizer step for every learner. The caller may
	// reuse the batch when Step returns. The error may come from an earlier step.
	//
	// If a loss is not finite, or with clipping the norm of a gradient, the error is
	// a *Diverged, and that learner keeps the weights from before the step that the
	// error names.
	Step(b *datasets.Batch, lr float64) error

	// Losses waits for all steps and adds to sums, step by step, the losses of each
	// learner since the last call. Its errors are those of Step.
	Losses(sums []float64) error

	// Tensors returns a learner's tensors for a checkpoint, after the steps made so
	// far: parameters under timm's names, the optimizer's state and the moving
	// averages (optim.IsState). The data is valid until the next step.
	Tensors(learner int) ([]safetensors.Tensor, error)

	// Restore sets a learner to the state that Tensors returned. lookup returns a
	// tensor by name, and whether there is one.
	Restore(learner int, lookup func(name string) (safetensors.Tensor, bool)) error

	// NewEvaluator is like Backend.NewEvaluator, but Grade uses the trainer's weights
	// of that moment.
	NewEvaluator(networks []models.Network, maxBatch int) (Evaluator, error)

	// Remarks returns messages for the user about how the job is carried out, for
	// example in smaller passes to save memory.
	Remarks() []string

	// Device returns the device of a learner. A stage that is resumed on the same
	// device, without Retuned, gets the same bits.
	Device(learner int) Device

	Close() error
}

// Device is what, besides the recipe, the bits of a result may depend on.
type Device struct {
	Name    string // with the versions of its libraries; "cpu" for the CPU
	Retuned bool   // some kernels were chosen by timing and not read from Tunings
}

// Evaluator evaluates networks.
type Evaluator interface {
	// Batch returns the number of images in a batch.
	Batch() int
	// Grade evaluates, or queues the evaluation of, the first b.Size images of a batch.
	// The caller may reuse the batch when Grade returns.
	Grade(b *datasets.Batch) error
	// Sums waits and returns the sums of each network since the last call.
	Sums() ([]Sum, error)
	Close() error
}

// Sum is the result of a network over some images.
type Sum struct {
	Loss    float64 // sum of the cross-entropies
	Correct float64 // number of images whose top prediction is right
}

// Meter is a trainer that can report the state of its devices.
type Meter interface {
	// Meters returns values for a learner's events under their names in package runs,
	// given the training speed in images per second. It does not wait: readings may
	// be a few seconds old.
	Meters(learner int, speed float64) map[string]float64
}

// Diverged is the error of training whose loss or gradient became NaN or infinite.
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

// Finite reports whether x is neither NaN nor infinite.
func Finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// Mismatch returns the error for parameter p of a checkpoint, which lacks it or holds the
// tensor t of another size.
func Mismatch(p models.Param, t safetensors.Tensor, found bool) error {
	if !found {
		return fmt.Errorf("the checkpoint lacks parameter %s: it belongs to another network", p.Name)
	}
	return fmt.Errorf("parameter %s has %d elements in the checkpoint, but the network needs the shape %v: the checkpoint belongs to another network", p.Name, len(t.Data), p.Shape)
}

// Memory is the planned peak memory of a job, in bytes.
type Memory struct {
	Activations int64 // the plan's arena
	Gradients   int64 // of the trained parameters
	Weights     int64 // parameters, frozen ones included
	Optimizer   int64 // moments, and the EMA of the weights
	Buffers     int64 // inputs, working space and the buffers of evaluation; 0 on a GPU, where Activations includes them
}

// Total returns the sum of all fields.
func (m Memory) Total() int64 {
	return m.Activations + m.Gradients + m.Weights + m.Optimizer + m.Buffers
}

package pipeline

import (
	"context"
	"fmt"
	"maps"
	"math"
	"time"

	"hatchery/datasets"
	"hatchery/engine/backend"
	"hatchery/engine/limits"
	"hatchery/engine/method"
	"hatchery/engine/optim"
	"hatchery/engine/runs"
	"hatchery/engine/runs/safetensors"
	"hatchery/presets"
)

const (
	// reportEvery is the least time between two step events of a stage.
	reportEvery = time.Second
	// saveEvery is the most work that a kill can undo within a long epoch.
	saveEvery = 10 * time.Minute
)

// Values of a stage's end and of a method's result: the time of its training steps,
// without evaluation.
const (
	TrainSeconds = "train_seconds" // on the clock
	CPUSeconds   = "cpu_seconds"   // of all cores: the cost, which other work on the machine hardly changes
)

// training trains stages together: the modules of a method, or a single stage.
type training struct {
	*runner
	stages    []*trainStage
	weights   weights
	inputs    map[string]string // weightsDigest of each checkpoint that was read, by stage
	seals     map[string]string // SHA-256 of the same checkpoints, which older versions compared
	ids       []*runs.Identity  // of each stage; nil if an older version began it
	trainer   backend.Trainer
	evaluator *evaluator
	loader    *datasets.Loader
	schedule  optim.Schedule
	epochs    int

	// Where the training is.
	epoch, partial int       // whole epochs done, steps done beyond them
	lossSums       []float64 // of each stage, over the partial steps up to the last call of Losses
	spent          spent     // in training steps

	reported, saved time.Time
	unreported      int     // steps
	before          float64 // seconds that were spent when they began
}

// trainGroup trains stages together until they are done.
func (r *runner) trainGroup(ctx context.Context, group []method.Stage) error {
	t := &training{
		runner: r, weights: weights{}, inputs: map[string]string{}, seals: map[string]string{},
		ids: make([]*runs.Identity, len(group)), lossSums: make([]float64, len(group)),
	}
	for _, s := range group {
		t.stages = append(t.stages, newTrainStage(r.config, r.division, s))
	}
	limits.Release() // the memory of the stages before
	if err := t.readInputs(); err != nil {
		return err
	}
	recipe := t.stages[0].recipe
	err := t.open()
	defer t.close()
	if err != nil {
		return err
	}
	for _, remark := range t.trainer.Remarks() {
		if err := r.run.Emit(runs.Event{Kind: runs.Info, Stage: group[0].Name, Message: remark}); err != nil {
			return err
		}
	}
	set, err := r.view.trainSet(group[0])
	if err != nil {
		return err
	}
	if t.loader, err = r.trainLoader(t.stages[0], set); err != nil {
		return err
	}
	data, err := r.view.of(ctx, set)
	if err != nil {
		return interrupted(ctx, err)
	}
	if err := t.begin(ctx, data); err != nil {
		return err
	}
	t.schedule = schedule(r.config, recipe, t.epochs)
	if recipe.ScheduleUnit == "step" {
		t.schedule = t.schedule.PerStep(t.loader.Steps())
	}
	limits.Settle()
	return t.train(ctx)
}

// open makes the trainer and its evaluator.
func (t *training) open() (err error) {
	r := t.runner
	p := pixels(r.backend, r.train, t.stages[0].augment(r.config))
	if t.trainer, err = newTrainer(r.backend, t.stages, t.weights, r.config.Seed, p, r.tunings(t.stages)); err != nil {
		return err
	}
	t.evaluator, err = newEvaluator(r.config, r.eval, r.backend, t.stages[0].network, func(most int) (backend.Evaluator, error) {
		return t.trainer.NewEvaluator(judgedNetworks(t.stages), most)
	})
	return err
}

// close releases what open has made.
func (t *training) close() {
	if t.evaluator != nil {
		t.evaluator.Close()
	}
	if t.trainer != nil {
		t.trainer.Close()
	}
	t.evaluator, t.trainer = nil, nil
}

// schedule is a stage's learning rate, in epochs.
func schedule(c *presets.Config, r presets.Recipe, epochs int) optim.Schedule {
	s := optim.Schedule{LR: r.PeakLR(), MinLR: r.MinLR, WarmupLR: r.WarmupLR, Warmup: r.WarmupEpochs, Total: epochs}
	if r.DecayFrom == "warmup" {
		s.Start = min(s.Warmup, epochs-1) // epochs may be fewer than the recipe has
	}
	if c.Compat == "official" {
		s.Lag = 1
	}
	return s
}

// readInputs loads the final checkpoints of the stages that these need.
func (t *training) readInputs() error {
	for _, need := range t.stages[0].Needs {
		c, err := runs.LoadFinal(t.run.Dir(), need)
		if err != nil {
			return fmt.Errorf("%s needs stage %s: %w", t.stages[0].Name, need, err)
		}
		t.inputs[need], t.seals[need] = weightsDigest(c), c.SHA256
		t.weights.load(c, ownerOf(t.config, need))
		if t.stages[0].Image != t.config.Model.Image { // and every other stage has this size
			if err := t.weights.resize(t.stages[0].network.ViT); err != nil {
				return fmt.Errorf("%s: %w", c.Path, err)
			}
		}
	}
	return nil
}

// begin resumes the stages from their latest checkpoints, or starts them. data
// describes the images that they train on.
func (t *training) begin(ctx context.Context, data runs.Data) error {
	names := make([]string, len(t.stages))
	for i, s := range t.stages {
		names[i] = s.Name
	}
	checkpoints, err := t.run.Resume(names...)
	if err != nil {
		return err
	}
	if checkpoints != nil {
		for i, c := range checkpoints {
			if err := t.restore(i, c, data); err != nil {
				return fmt.Errorf("%s: %w", c.Path, err)
			}
		}
		return nil
	}
	for i, s := range t.stages {
		t.ids[i] = &runs.Identity{Recipe: recipeOf(t.config, s.Stage), Data: data, Inputs: t.inputs}
	}
	if t.epochs, err = t.decideEpochs(ctx); err != nil {
		return err
	}
	for _, s := range t.stages {
		err := t.run.Emit(runs.Event{Kind: runs.StageStart, Stage: s.Name, Method: s.Method(), Epochs: t.epochs, Steps: t.epochs * t.loader.Steps()})
		if err != nil {
			return err
		}
	}
	return nil
}

// train trains from where the stages are to their end.
func (t *training) train(ctx context.Context) error {
	t.reported, t.saved, t.before = time.Now(), time.Now(), t.spent.seconds
	var final []*runs.Checkpoint
	var scores []Score
	for t.epoch < t.epochs {
		if err := t.steps(ctx); err != nil {
			return err
		}
		due := t.epoch+1 == t.epochs
		if every := t.stages[0].recipe.EvalEvery; every > 0 && (t.epoch+1)%every == 0 {
			due = true
		}
		scores = nil
		if due {
			var err error
			if scores, err = t.evaluate(ctx); err != nil {
				return t.stop(ctx, err)
			}
		}
		if err := t.closeEpoch(scores); err != nil {
			return err
		}
		var err error
		if final, err = t.save(scores); err != nil {
			return err
		}
		if t.epoch < t.epochs && t.stopping(ctx) {
			return ErrInterrupted
		}
	}
	return t.finish(ctx, final, scores)
}

// steps trains the rest of the current epoch.
func (t *training) steps(ctx context.Context) error {
	watch := startWatch()
	for b, err := range t.loader.Epoch(ctx, t.epoch, t.partial) {
		if err != nil {
			return t.stop(ctx, err)
		}
		if t.control.State().Pausing {
			if err := t.pause(ctx); err != nil {
				return err
			}
			watch.lap()
		}
		lr := t.lr(t.epoch, t.partial)
		if err := t.trainer.Step(b, lr); err != nil {
			return err
		}
		t.partial++
		t.unreported++
		t.spent = t.spent.plus(watch.lap())
		if watch.at.Sub(t.reported) >= reportEvery {
			if err := t.report(watch, lr); err != nil {
				return err
			}
		}
		if watch.at.Sub(t.saved) >= saveEvery {
			if _, err := t.save(nil); err != nil {
				return err
			}
			watch.lap()
		}
	}
	err := t.trainer.Losses(t.lossSums)
	t.spent = t.spent.plus(watch.lap()) // until the last step was done
	return err
}

// lr is the learning rate of a step.
func (t *training) lr(epoch, partial int) float64 {
	if t.stages[0].recipe.ScheduleUnit == "step" {
		return t.schedule.At(epoch*t.loader.Steps() + partial)
	}
	return t.schedule.At(epoch)
}

// stop saves where the training is, if it stops because ctx ended.
func (t *training) stop(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	if t.epoch > 0 || t.partial > 0 {
		if _, err := t.save(nil); err != nil {
			// Not ErrInterrupted, which promises a checkpoint.
			return fmt.Errorf("stopped on request, and the checkpoint cannot be saved: %w", err)
		}
	}
	return ErrInterrupted
}

// share returns what each stage has spent: an equal part of the whole.
func (t *training) share() spent {
	n := float64(len(t.stages))
	return spent{t.spent.seconds / n, t.spent.cpu / n}
}

// step is the number of optimizer steps done.
func (t *training) step() int { return t.epoch*t.loader.Steps() + t.partial }

// report emits the progress within an epoch. The speed is that of the steps since the
// last report, without evaluation and checkpoints.
func (t *training) report(w *watch, lr float64) error {
	if err := t.trainer.Losses(t.lossSums); err != nil {
		return err
	}
	t.spent = t.spent.plus(w.lap()) // until the last step was done
	speed := float64(t.unreported*t.stages[0].recipe.Batch) / (t.spent.seconds - t.before)
	t.reported, t.unreported, t.before = w.at, 0, t.spent.seconds
	for i, s := range t.stages {
		values := runs.Values{runs.Loss: t.lossSums[i] / float64(t.partial), runs.LR: lr, runs.Speed: speed}
		if m, ok := t.trainer.(backend.Meter); ok {
			maps.Copy(values, m.Meters(i, speed))
		}
		err := t.run.Emit(runs.Event{Kind: runs.Step, Stage: s.Name, Epoch: t.epoch + 1, Step: t.step(), Values: values})
		if err != nil {
			return err
		}
	}
	return nil
}

// closeEpoch counts the epoch under way as done and reports it. scores is nil
// if it was not evaluated.
func (t *training) closeEpoch(scores []Score) error {
	lr := t.lr(t.epoch, t.partial-1)
	loss := make([]float64, len(t.stages))
	for i, sum := range t.lossSums {
		loss[i] = sum / float64(t.partial)
		t.lossSums[i] = 0
	}
	for i, s := range t.stages {
		diverged := &Diverged{Stage: s.Name, Epoch: t.epoch, Step: t.partial - 1, LR: lr}
		tensors, err := t.trainer.Tensors(i)
		if err != nil {
			return err
		}
		if what, value := notFinite(tensors); what != "" {
			diverged.What, diverged.Value = what, value
			return diverged
		}
		if scores != nil && math.IsNaN(scores[i].Loss) {
			diverged.What, diverged.Value = "evaluation loss", scores[i].Loss
			return diverged
		}
	}
	t.epoch, t.partial = t.epoch+1, 0
	for i, s := range t.stages {
		e := runs.Event{Stage: s.Name, Epoch: t.epoch, Step: t.step()}
		if scores != nil {
			e.Kind, e.Values = runs.Eval, scores[i].values()
			if err := t.run.Emit(e); err != nil {
				return err
			}
		}
		e.Kind, e.Values = runs.Epoch, runs.Values{runs.Loss: loss[i], runs.LR: lr, TrainSeconds: t.share().seconds, CPUSeconds: t.share().cpu}
		if err := t.run.Emit(e); err != nil {
			return err
		}
	}
	return nil
}

// notFinite names a parameter with a value that is not finite, and the value.
func notFinite(tensors []safetensors.Tensor) (what string, value float64) {
	for _, t := range tensors {
		if optim.IsState(t.Name) {
			continue
		}
		for _, x := range t.Data {
			if v := float64(x); !backend.Finite(v) {
				return "parameter " + t.Name, v
			}
		}
	}
	return "", 0
}

// finish marks every stage as done.
func (t *training) finish(ctx context.Context, final []*runs.Checkpoint, scores []Score) error {
	if scores == nil { // resumed after the last checkpoint and before the mark
		var err error
		if scores, err = t.evaluate(ctx); err != nil {
			return interrupted(ctx, err)
		}
	}
	if final == nil {
		var err error
		if final, err = t.save(scores); err != nil {
			return err
		}
	}
	for i, c := range final {
		results := scores[i].values()
		results[TrainSeconds], results[CPUSeconds] = t.share().seconds, t.share().cpu
		if inside := t.stages[i].Inside; inside != "" {
			meta, err := runs.ReadOutcome(t.run.Dir(), inside)
			if err != nil {
				return err
			}
			if meta != nil {
				results[Gain] = t.gain(results[runs.Top1], meta)
			}
		}
		c.Weights = weightsDigest(c)
		if err := t.run.FinishStage(c, results); err != nil {
			return err
		}
	}
	return nil
}

// Gain is a value of the end of a module's stage: by how many points the accuracy of the
// meta model changes when the module replaces its meta module (paper figure 9).
const Gain = "gain"

// gain returns by how many points an accuracy is above that of the meta model. It is
// computed from numbers of images: 71.4 - 70.2 would be 1.2000000000000028.
func (t *training) gain(top1 float64, meta *runs.Outcome) float64 {
	n, was := float64(t.eval.Len()), meta.Values[runs.Top1]
	if meta.Identity != nil && meta.Data.Eval.Count != t.eval.Len() {
		return top1 - was
	}
	return 100 * (math.Round(top1*n/100) - math.Round(was*n/100)) / n
}

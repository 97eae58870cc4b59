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
	// reportEvery is the shortest time between two step events of a stage.
	reportEvery = time.Second
	// saveEvery is the longest time between two checkpoints, even within an epoch.
	saveEvery = 10 * time.Minute
)

// Values of a stage's end and of a method's result: the time of its training steps,
// without evaluation.
const (
	TrainSeconds = "train_seconds" // elapsed time
	CPUSeconds   = "cpu_seconds"   // CPU time of all cores; other work on the machine hardly affects it
)

// training trains stages together: the modules of a method, or a single stage.
type training struct {
	*runner
	stages    []*trainStage
	weights   weights
	inputs    map[string]string // weightsDigest of each checkpoint that was read, by stage
	seals     map[string]string // SHA-256 of the same checkpoints, which older versions compare
	ids       []*runs.Identity  // of each stage; nil if an older version started it
	trainer   backend.Trainer
	evaluator *evaluator
	loader    *datasets.Loader
	schedule  optim.Schedule
	epochs    int

	// The current progress.
	epoch, partial int       // completed epochs, and steps in the current epoch
	lossSums       []float64 // of each stage, over the steps of the current epoch up to the last call of Losses
	spent          timeSpent // in training steps

	lastReport, lastSave time.Time
	unreportedSteps      int     // since lastReport
	secondsAtReport      float64 // spent.seconds at lastReport
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
	limits.Release() // the memory of earlier stages
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
	data, err := r.view.stageData(ctx, set)
	if err != nil {
		return asInterrupted(ctx, err)
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

// open opens the trainer and its evaluator.
func (t *training) open() (err error) {
	r := t.runner
	p := pixels(r.backend, r.train, t.stages[0].augment(r.config))
	if t.trainer, err = newTrainer(r.backend, t.stages, t.weights, r.config.Seed, p, r.tunings(t.stages)); err != nil {
		return err
	}
	t.evaluator, err = newEvaluator(r.config, r.eval, r.backend, t.stages[0].network, func(most int) (backend.Evaluator, error) {
		return t.trainer.NewEvaluator(evalNetworks(t.stages), most)
	})
	return err
}

// close closes the trainer and its evaluator.
func (t *training) close() {
	if t.evaluator != nil {
		t.evaluator.Close()
	}
	if t.trainer != nil {
		t.trainer.Close()
	}
	t.evaluator, t.trainer = nil, nil
}

// schedule returns a stage's learning rate schedule, in epochs.
func schedule(c *presets.Config, r presets.Recipe, epochs int) optim.Schedule {
	s := optim.Schedule{LR: r.PeakLR(), MinLR: r.MinLR, WarmupLR: r.WarmupLR, Warmup: r.WarmupEpochs, Total: epochs}
	if r.DecayFrom == "warmup" {
		s.Start = min(s.Warmup, epochs-1) // epochs may be fewer than in the recipe
	}
	if c.Compat == "official" {
		s.Lag = 1
	}
	return s
}

// readInputs loads the final checkpoints of the stages that t.stages need.
func (t *training) readInputs() error {
	for _, need := range t.stages[0].Needs {
		c, err := runs.LoadFinal(t.run.Dir(), need)
		if err != nil {
			return fmt.Errorf("%s needs stage %s: %w", t.stages[0].Name, need, err)
		}
		t.inputs[need], t.seals[need] = weightsDigest(c), c.SHA256
		t.weights.load(c, ownerOf(t.config, need))
		if t.stages[0].Image != t.config.Model.Image { // all other stages have the size of the model
			if err := t.weights.resize(t.stages[0].network.ViT); err != nil {
				return fmt.Errorf("%s: %w", c.Path, err)
			}
		}
	}
	return nil
}

// begin resumes the stages from their latest checkpoints, or starts them. data describes the
// images that they train on.
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

// train trains the stages from their current state to the end.
func (t *training) train(ctx context.Context) error {
	t.lastReport, t.lastSave, t.secondsAtReport = time.Now(), time.Now(), t.spent.seconds
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
		if t.epoch < t.epochs && t.shouldStop(ctx) {
			return ErrInterrupted
		}
	}
	return t.finish(ctx, final, scores)
}

// steps trains the rest of the current epoch.
func (t *training) steps(ctx context.Context) error {
	watch := startStopwatch()
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
		t.unreportedSteps++
		t.spent = t.spent.add(watch.lap())
		if watch.time.Sub(t.lastReport) >= reportEvery {
			if err := t.report(watch, lr); err != nil {
				return err
			}
		}
		if watch.time.Sub(t.lastSave) >= saveEvery {
			if _, err := t.save(nil); err != nil {
				return err
			}
			watch.lap()
		}
	}
	err := t.trainer.Losses(t.lossSums)
	t.spent = t.spent.add(watch.lap()) // Losses waited for the last step
	return err
}

// lr returns the learning rate of a step.
func (t *training) lr(epoch, partial int) float64 {
	if t.stages[0].recipe.ScheduleUnit == "step" {
		return t.schedule.At(epoch*t.loader.Steps() + partial)
	}
	return t.schedule.At(epoch)
}

// stop saves a checkpoint and returns ErrInterrupted if ctx is done. Otherwise it returns err.
func (t *training) stop(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	if t.epoch > 0 || t.partial > 0 {
		if _, err := t.save(nil); err != nil {
			// Not ErrInterrupted, because there is no checkpoint.
			return fmt.Errorf("stopped on request, but cannot save the checkpoint: %w", err)
		}
	}
	return ErrInterrupted
}

// perStage returns the time that counts for each stage: an equal part of the total.
func (t *training) perStage() timeSpent {
	n := float64(len(t.stages))
	return timeSpent{t.spent.seconds / n, t.spent.cpu / n}
}

// step returns the number of optimizer steps done.
func (t *training) step() int { return t.epoch*t.loader.Steps() + t.partial }

// report emits the progress within an epoch. The speed is that of the steps since the last
// report, without the time for evaluation and checkpoints.
func (t *training) report(w *stopwatch, lr float64) error {
	if err := t.trainer.Losses(t.lossSums); err != nil {
		return err
	}
	t.spent = t.spent.add(w.lap()) // Losses waited for the last step
	speed := float64(t.unreportedSteps*t.stages[0].recipe.Batch) / (t.spent.seconds - t.secondsAtReport)
	t.lastReport, t.unreportedSteps, t.secondsAtReport = w.time, 0, t.spent.seconds
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

// closeEpoch counts the current epoch as done and reports it. scores is nil if the epoch was
// not evaluated.
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
		e.Kind, e.Values = runs.Epoch, runs.Values{runs.Loss: loss[i], runs.LR: lr, TrainSeconds: t.perStage().seconds, CPUSeconds: t.perStage().cpu}
		if err := t.run.Emit(e); err != nil {
			return err
		}
	}
	return nil
}

// notFinite returns the name of a parameter with a value that is not finite, and the value.
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
	if scores == nil { // resumed from the last checkpoint of a stage that is not marked as done
		var err error
		if scores, err = t.evaluate(ctx); err != nil {
			return asInterrupted(ctx, err)
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
		results[TrainSeconds], results[CPUSeconds] = t.perStage().seconds, t.perStage().cpu
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

// Gain is a value of the end of a module's stage: the change of the meta model's accuracy, in
// percentage points, when the module replaces its meta module (figure 9 of the paper).
const Gain = "gain"

// gain returns the difference in percentage points between an accuracy and that of the meta
// model. It is computed from numbers of images, since 71.4 - 70.2 is 1.2000000000000028.
func (t *training) gain(top1 float64, meta *runs.Outcome) float64 {
	n, was := float64(t.eval.Len()), meta.Values[runs.Top1]
	if meta.Identity != nil && meta.Data.Eval.Count != t.eval.Len() {
		return top1 - was
	}
	return 100 * (math.Round(top1*n/100) - math.Round(was*n/100)) / n
}

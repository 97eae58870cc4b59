package pipeline

import (
	"context"
	"errors"

	"hatchery/datasets"
	"hatchery/engine/backend"
	"hatchery/engine/limits"
	"hatchery/engine/method"
	"hatchery/engine/runs"
	"hatchery/models"
	"hatchery/presets"
)

// ErrInterrupted is wrapped by the error of Execute if it was stopped on request. A
// checkpoint includes every finished step, and Execute on the same run continues from it.
var ErrInterrupted = errors.New("interrupted")

// runner executes the stages of one run in this process.
type runner struct {
	config   *presets.Config
	control  *Control
	run      *runs.Run
	division models.Division
	backend  backend.Backend
	train    *datasets.Set
	eval     *datasets.Set
	view     *view // of train and eval
}

// Execute executes every unfinished stage of an experiment. It reports progress in the run's
// events and prints nothing.
//
// When ctx is done, Execute finishes the current step, saves a checkpoint, and returns an
// error that wraps ErrInterrupted. control, which may be nil, can request a pause, or a stop
// at the end of an epoch, which returns the same error. The error is a *Diverged if a loss or
// a weight is not finite, and an *Invalid if the folder has stages of another experiment
// (CheckResume). The caller must cancel ctx when the run loses its folder (runs.Run.Lost);
// the error is then that of runs.Run.LostCause.
func Execute(ctx context.Context, c *presets.Config, run *runs.Run, control *Control) error {
	err := explain(c, run.Dir(), execute(ctx, c, run, control))
	if lost := run.LostCause(); err != nil && lost != nil {
		if !errors.Is(err, ErrInterrupted) && !errors.Is(err, runs.ErrFolderLost) {
			lost = errors.Join(lost, err)
		}
		err = lost
	}
	switch {
	case err == nil:
		return errors.Join(run.Emit(runs.Event{Kind: runs.Done}), run.Finish(runs.Finished, ""))
	case errors.Is(err, ErrInterrupted):
		const message = "stopped on request; every finished step is in a checkpoint"
		return errors.Join(err, run.Emit(runs.Event{Kind: runs.Interrupted, Message: message}), run.Finish(runs.Stopped, message))
	}
	return errors.Join(err, run.Emit(errorEvent(err)), run.Finish(runs.Failed, err.Error()))
}

// errorEvent returns the event for an error that ends a process.
func errorEvent(err error) runs.Event {
	e := runs.Event{Kind: runs.Error, Message: err.Error()}
	if d, ok := errors.AsType[*Diverged](err); ok {
		e.Stage, e.Epoch, e.Values = d.Stage, d.Epoch+1, runs.Values{runs.LR: d.LR}
	}
	return e
}

// newRunner opens the data and a backend. The caller must close the backend.
func newRunner(ctx context.Context, c *presets.Config, run *runs.Run, control *Control) (*runner, error) {
	limits.Release() // the memory of the checks and of an earlier run in this process
	d, err := division(c)
	if err != nil {
		return nil, err
	}
	r := &runner{config: c, control: control, run: run, division: d}
	if r.train, r.eval, err = datasets.Open(ctx, Source(c)); err != nil {
		return nil, asInterrupted(ctx, err)
	}
	r.view = newView(c, r.train, r.eval)
	r.backend, err = openBackend(c)
	return r, err
}

func execute(ctx context.Context, c *presets.Config, run *runs.Run, control *Control) error {
	r, err := newRunner(ctx, c, run, control)
	if err != nil {
		return err
	}
	defer r.backend.Close()

	stages := method.Stages(c)
	if err := run.Emit(runs.Event{Kind: runs.RunStart, Plan: r.plan(stages), Environment: environment(r.backend.Info().Name)}); err != nil {
		return err
	}
	if err := r.reportSkipped(); err != nil {
		return err
	}
	if err := r.review(ctx, stages, anyStage); err != nil {
		return err
	}
	control.change(func(s *ControlState) { s.Started = true })
	for _, group := range groups(c, stages) {
		if group, err = r.unfinished(group); err != nil {
			return err
		}
		if len(group) == 0 {
			continue
		}
		if r.shouldStop(ctx) {
			return ErrInterrupted
		}
		if err := run.SetStage(group[0].Name, ""); err != nil {
			return err
		}
		if !group[0].Trains() {
			err = r.assemble(ctx, group[0])
		} else {
			err = r.trainGroup(ctx, group)
		}
		if err != nil {
			return err
		}
	}
	return r.results(stages)
}

// Source returns the data set of an experiment. A subset does not depend on the seed of the
// run, so that runs can be compared.
func Source(c *presets.Config) datasets.Source {
	return datasets.Source{
		Name: c.Data.Name, Root: c.Data.Root, SkipCorrupt: c.Data.SkipCorrupt,
		Train: c.Data.Train, Eval: c.Data.Eval, Fraction: c.Data.Fraction,
	}
}

// asInterrupted returns ErrInterrupted for an error if ctx is done, otherwise err.
func asInterrupted(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return ErrInterrupted
	}
	return err
}

// unfinished returns the stages of group that are not done. The error is an *Invalid if the
// weights that a finished stage was trained with have changed since, such as the meta model
// of a module.
func (r *runner) unfinished(group []method.Stage) ([]method.Stage, error) {
	var left []method.Stage
	for _, s := range group {
		b, err := readStarted(r.run.Dir(), s)
		if err != nil {
			return nil, err
		}
		if b == nil || !b.done {
			left = append(left, s)
			continue
		}
		if err := b.checkInputs(r.config, r.run.Dir()); err != nil {
			return nil, err
		}
	}
	return left, nil
}

// plan returns the planned stages for the run's events. Costs are in MACs.
func (r *runner) plan(stages []method.Stage) (plan []runs.StagePlan) {
	for _, s := range stages {
		p := runs.StagePlan{Stage: s.Name, Method: s.Method(), StageInfo: s.Describe(r.config), Cost: float64(r.division.TargetNet().Cost().Forward) * float64(r.eval.Len())}
		if s.Trains() {
			t := newTrainStage(r.config, r.division, s)
			perEpoch := augment(r.config).Visits(epochImages(r.config, r.train)) / t.recipe.Batch
			p.Epochs, p.Steps = t.recipe.Epochs, t.recipe.Epochs*perEpoch
			p.Cost = float64(t.network.Cost().Step) * float64(p.Steps*t.recipe.Batch)
		}
		plan = append(plan, p)
	}
	return plan
}

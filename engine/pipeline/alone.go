package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"hatchery/datasets"
	"hatchery/engine/method"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// NotReady is the error of a stage that needs other stages first.
type NotReady struct {
	Stage string
	Needs []string // stages that are not done
}

func (e *NotReady) Error() string {
	return fmt.Sprintf("stage %s needs %s, which must be done first", e.Stage, strings.Join(e.Needs, ", "))
}

// FindStage returns the stage of an experiment with the given name. If there is none, the
// error is an *Invalid that lists the stages.
func FindStage(c *presets.Config, name string) (method.Stage, error) {
	stages := method.Stages(c)
	if i := slices.IndexFunc(stages, func(s method.Stage) bool { return s.Name == name }); i >= 0 {
		return stages[i], nil
	}
	var names []string
	for _, s := range stages {
		names = append(names, s.Name)
	}
	return method.Stage{}, &Invalid{fmt.Errorf("the run has no stage %q; its stages are %s", name, strings.Join(names, ", "))}
}

// Ready reports whether a stage of the run in dir is done. The error is a *NotReady if the
// stage cannot start yet, and an *Invalid if the stage, or a finished stage, was trained with
// another configuration than c, or with weights that have changed since, such as a module
// whose meta model was trained again.
func Ready(c *presets.Config, dir string, s method.Stage) (done bool, err error) {
	if err := CheckRecipe(c, dir, s); err != nil {
		return false, err
	}
	done, err = stageReady(dir, s)
	return done, explain(c, dir, err)
}

func stageReady(dir string, s method.Stage) (done bool, err error) {
	missing := &NotReady{Stage: s.Name}
	for _, need := range append(slices.Clone(s.Needs), s.After...) {
		o, err := runs.ReadOutcome(dir, need)
		if err != nil {
			return false, err
		}
		if o == nil {
			missing.Needs = append(missing.Needs, need)
		}
	}
	own, err := runs.ReadOutcome(dir, s.Name)
	switch {
	case err != nil:
		return false, err
	case own != nil:
		return true, nil
	case missing.Needs != nil:
		return false, missing
	}
	return false, nil
}

// ExecuteStage executes one stage of an experiment in this process, while other processes
// may execute other stages. run must be open for that stage; see runs.OpenStage. After the
// last stage, it emits the results of the methods. It trains each module alone, regardless of
// Run.Together.
//
// Errors are those of Execute, and runs.ErrSuperseded if another process has the stage. After
// ErrInterrupted, the caller must write the reason to the run.
func ExecuteStage(ctx context.Context, c *presets.Config, run *runs.Run, s method.Stage) error {
	left, err := executeStage(ctx, c, run, s)
	err = explain(c, run.Dir(), err)
	switch {
	case err == nil && left:
		return run.Finish(runs.Waiting, fmt.Sprintf("stage %s is done, other stages are not", s.Name))
	case err == nil:
		return errors.Join(run.Emit(runs.Event{Kind: runs.Done}), run.Finish(runs.Finished, ""), run.FinishRun())
	case errors.Is(err, runs.ErrSuperseded):
		return errors.Join(err, run.Emit(runs.Event{Kind: runs.Warning, Message: err.Error()}), run.Finish(runs.Stopped, err.Error()))
	case errors.Is(err, ErrInterrupted):
		return err
	}
	return errors.Join(err, run.Emit(errorEvent(err)), run.Finish(runs.Failed, err.Error()))
}

// withPart returns the configuration for the stage that trains a module. With launch.parts,
// its data.root is the folder of the module's part of the data. module is 0 for a stage that
// trains another network.
func withPart(c *presets.Config, module int) *presets.Config {
	if c.Launch.Parts == "" || module == 0 {
		return c
	}
	part := *c
	part.Data.Root = filepath.Join(c.Launch.Parts, fmt.Sprintf("part-%d", module))
	return &part
}

// checkParts returns an error if a module's part of the data is missing or is another part.
func checkParts(ctx context.Context, c *presets.Config) error {
	trained := slices.ContainsFunc(method.Stages(c), func(s method.Stage) bool { return s.Module > 0 })
	if c.Launch.Parts == "" || !trained {
		return nil
	}
	for i := range c.Modules.K {
		part := withPart(c, i+1)
		found, err := datasets.Inspect(ctx, Source(part))
		if err != nil {
			return fmt.Errorf("launch.parts: %w; write the parts with: hatchery data partition %s %s --parts=%d", err, c.Data.Name, c.Launch.Parts, c.Modules.K)
		}
		if want := (datasets.Part{K: c.Modules.K, Index: i, Seed: partitionSeed}); found.Part != want {
			return fmt.Errorf("launch.parts: %s is not %v of %s but %v", part.Data.Root, want, c.Data.Name, found.Part)
		}
	}
	return nil
}

// executeStage executes a stage and reports whether other stages are left.
func executeStage(ctx context.Context, c *presets.Config, run *runs.Run, s method.Stage) (left bool, err error) {
	c = withPart(c, s.Module)
	r, err := newRunner(ctx, c, run, nil)
	if err != nil {
		return true, err
	}
	defer r.backend.Close()
	stages := method.Stages(c)
	host, _ := os.Hostname()
	if err := run.Emit(runs.Event{Kind: runs.Attempt, Host: host, Job: run.Job(), Plan: r.plan(stages), Environment: environment(r.backend.Info().Name)}); err != nil {
		return true, err
	}
	if err := r.review(ctx, stages, onlyStage(s)); err != nil {
		return true, err
	}
	if !s.Trains() {
		err = r.assemble(ctx, s)
	} else {
		err = r.trainGroup(ctx, []method.Stage{s})
	}
	if err != nil {
		return true, err
	}
	if unfinished, err := r.unfinished(stages); err != nil || len(unfinished) > 0 {
		return true, err
	}
	return false, r.results(stages)
}

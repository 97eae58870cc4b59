package pipeline

import (
	"context"
	"fmt"
	"math"

	"hatchery/datasets"
	"hatchery/engine/backend"
	"hatchery/engine/limits"
	"hatchery/engine/method"
	"hatchery/engine/runs"
	"hatchery/engine/runs/safetensors"
)

// assemble assembles the trained modules (Algorithm 1, line 7) and evaluates the result
// before fine-tuning.
func (r *runner) assemble(ctx context.Context, s method.Stage) error {
	err := r.run.Emit(runs.Event{Kind: runs.StageStart, Stage: s.Name, Method: s.Method()})
	if err != nil {
		return err
	}
	data, err := r.view.common(ctx)
	if err != nil {
		return asInterrupted(ctx, err)
	}
	limits.Release() // the memory of earlier stages
	id := &runs.Identity{Recipe: recipeOf(r.config, s), Data: data, Inputs: map[string]string{}}
	c := &runs.Checkpoint{Stage: s.Name, Score: math.NaN(), Identity: id}
	w := weights{}
	var modules []*runs.Checkpoint
	for i, need := range s.Needs {
		module, err := runs.LoadFinal(r.run.Dir(), need)
		if err != nil {
			return fmt.Errorf("%s needs stage %s: %w", s.Name, need, err)
		}
		modules = append(modules, module)
		stage, _ := method.Find(r.config, need)
		if err := r.checkFit(i, stage.Inside, modules); err != nil {
			return &Invalid{fmt.Errorf("%s: %w; to train it again, with the stages that depend on it:\n  %s",
				module.Path, err, trainAgain(r.config, r.run.Dir(), []string{need}))}
		}
		id.Inputs[need] = weightsDigest(module)
		w.load(module, stage.Owner)
	}
	net := s.Network(r.division)
	for _, p := range net.Params() {
		data := w[p.Leaf()]
		if len(data) != p.Size() {
			return backend.Mismatch(p.Param, safetensors.Tensor{Data: data}, data != nil)
		}
		c.Tensors = append(c.Tensors, safetensors.Tensor{Name: p.Name, Shape: p.Shape, Data: data})
	}
	scored, err := score(ctx, r.config, r.backend, net, r.eval, w)
	if err != nil {
		return err
	}
	values := scored.values()
	if err := r.run.Emit(runs.Event{Kind: runs.Eval, Stage: s.Name, Values: values}); err != nil {
		return err
	}
	c.Score, c.Weights = values[runs.Top1], weightsDigest(c)
	if err := r.run.Save(c); err != nil {
		return err
	}
	return r.run.FinishStage(c, values)
}

// checkFit returns an error if module i, the last of modules, cannot be assembled with the
// earlier ones. The modules must have been trained inside the same meta model, the result of
// stage meta, and on the same classes. With data.partition, each must have been trained on
// its own part of the images.
func (r *runner) checkFit(i int, meta string, modules []*runs.Checkpoint) error {
	first, own := modules[0], modules[i]
	if a, b := inputID(first, meta), inputID(own, meta); a != b && (first.Identity == nil) == (own.Identity == nil) {
		return fmt.Errorf("it was trained with another meta model (%.12s...) than the earlier modules (%.12s...)", b, a)
	}
	if own.Identity == nil {
		return nil
	}
	data := own.Identity.Data
	if other := otherClass(data.Classes, recordedClasses(r.train.Classes)); other != "" {
		return fmt.Errorf("it was trained on other classes than the data set has now: %s", other)
	}
	if r.config.Data.Partition {
		if want := (datasets.Part{K: r.config.Modules.K, Index: i, Seed: partitionSeed}).String(); data.Part != want {
			return fmt.Errorf("it was trained on %s of the training images, not on %s", orNothing(data.Part), want)
		}
	}
	return nil
}

// inputID returns an identifier of the weights of stage need with which a checkpoint was
// trained. Identifiers from checkpoints of older versions cannot be compared with those of
// this version.
func inputID(c *runs.Checkpoint, need string) string {
	if c.Identity != nil {
		return c.Identity.Inputs[need]
	}
	return c.Metadata[metaInput+need]
}

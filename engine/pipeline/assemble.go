package pipeline

import (
	"context"
	"fmt"
	"math"

	"hatchery/engine/backend"
	"hatchery/engine/limits"
	"hatchery/engine/runs"
	"hatchery/engine/runs/safetensors"
	"hatchery/models"
)

// assemble puts the trained modules together (Algorithm 1, line 7) and
// evaluates the result before fine-tuning.
func (r *runner) assemble(ctx context.Context, s Stage) error {
	err := r.run.Emit(runs.Event{Kind: runs.StageStart, Stage: s.Name, Method: s.Method})
	if err != nil {
		return err
	}
	limits.Release() // what the stages before left
	c := &runs.Checkpoint{Stage: s.Name, Score: math.NaN(), Metadata: map[string]string{}}
	w := weights{}
	meta := ""
	for _, need := range s.Needs {
		module, err := runs.LoadFinal(r.run.Dir(), need)
		if err != nil {
			return fmt.Errorf("%s needs stage %s: %w", s.Name, need, err)
		}
		// Modules are compatible only through the meta model they share.
		if seal := module.Metadata[metaInput+"meta"]; meta == "" {
			meta = seal
		} else if seal != meta {
			return fmt.Errorf("%s: %s was trained with another meta model (%.12s...) than the modules before it (%.12s...); train it again",
				s.Name, module.Path, seal, meta)
		}
		c.Metadata[metaInput+need] = module.SHA256
		w.load(module, models.Target)
	}
	net := r.division.TargetNet()
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
	c.Score = values[runs.Top1]
	if err := r.run.Save(c); err != nil {
		return err
	}
	return r.run.FinishStage(c, values)
}

package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"

	"hatchery/datasets"
	"hatchery/engine/method"
	"hatchery/engine/runs"
	"hatchery/models"
	"hatchery/presets"
)

// The checkpoints of a stage record its configuration, its data and the weights that it
// started from (runs.Identity). Before a stage is continued, or its weights are used, this
// record is compared with the current configuration, data and weights. A difference that
// would change the result is an error. A difference that changes the result only by rounding,
// or may have changed it, is a warning. Other differences are accepted.

// startedStage is a stage of a run folder that has started.
type startedStage struct {
	method.Stage
	done   bool
	id     *runs.Identity    // nil if an older version started the stage
	legacy map[string]string // the checkpoint's metadata, for a stage without an identity
}

// readStarted reads the record of a stage from a run folder. It returns nil if the stage has
// not started.
func readStarted(dir string, s method.Stage) (*startedStage, error) {
	o, err := runs.ReadOutcome(dir, s.Name)
	if err != nil {
		return nil, err
	}
	b := &startedStage{Stage: s, done: o != nil}
	if o != nil && o.Identity != nil {
		b.id = o.Identity
		return b, nil
	}
	header := runs.LatestHeader
	if o != nil {
		header = runs.FinalHeader
	}
	c, err := header(dir, s.Name)
	if c == nil || err != nil {
		return nil, err
	}
	if b.legacy = c.Metadata; o == nil {
		b.id = c.Identity
	}
	return b, nil
}

// readAllStarted reads the records of stages. It leaves out stages that have not started, and
// unfinished stages for which progress returns false, because another process may be
// executing them.
func readAllStarted(dir string, stages []method.Stage, progress func(method.Stage) bool) ([]*startedStage, error) {
	var all []*startedStage
	for _, s := range stages {
		if !progress(s) {
			if o, err := runs.ReadOutcome(dir, s.Name); err != nil {
				return nil, err
			} else if o == nil {
				continue
			}
		}
		b, err := readStarted(dir, s)
		if err != nil {
			return nil, err
		}
		if b != nil {
			all = append(all, b)
		}
	}
	return all, nil
}

// anyStage is the progress argument of readAllStarted for a process that executes the whole
// run.
func anyStage(method.Stage) bool { return true }

// onlyStage returns the progress argument of readAllStarted for a process that executes
// stage s.
func onlyStage(s method.Stage) func(method.Stage) bool {
	return func(other method.Stage) bool { return other.Name == s.Name }
}

// weightsDigest returns a digest of the weights of a checkpoint that later stages read. It
// covers nothing else: a stage that is trained again and ends with the same weights has the
// same digest.
func weightsDigest(c *runs.Checkpoint) string {
	w := weights{}
	w.load(c, models.Target)
	h := sha256.New()
	buf := make([]byte, 0, 1<<16)
	for _, name := range slices.Sorted(maps.Keys(w)) {
		fmt.Fprintf(h, "%s %d\n", name, len(w[name]))
		for part := range slices.Chunk(w[name], cap(buf)/4) {
			buf = buf[:0]
			for _, x := range part {
				buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(x))
			}
			h.Write(buf)
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// digestOf returns the weightsDigest of a finished stage.
func digestOf(dir string, o *runs.Outcome) (string, error) {
	if o.Weights != "" {
		return o.Weights, nil
	}
	c, err := runs.LoadFinal(dir, o.Stage) // older versions did not record the digest
	if err != nil {
		return "", err
	}
	return weightsDigest(c), nil
}

// metaInput + stage is the metadata key under which older versions recorded the SHA-256 of
// the whole checkpoint that a stage read.
const metaInput = "input/"

// usedWeights reports whether the stage was trained with the current weights of need, a
// finished stage that it depends on.
func (b *startedStage) usedWeights(dir string, need *runs.Outcome) (bool, error) {
	if b.id == nil {
		was := b.legacy[metaInput+need.Stage]
		return was == "" || was == need.SHA256, nil
	}
	now, err := digestOf(dir, need)
	return b.id.Inputs[need.Stage] == now, err
}

// otherInputs returns the finished stages whose weights have changed since this stage read
// them.
func (b *startedStage) otherInputs(dir string) ([]string, error) {
	var others []string
	for _, need := range b.Needs {
		o, err := runs.ReadOutcome(dir, need)
		if err != nil {
			return nil, err
		}
		if o == nil {
			continue
		}
		same, err := b.usedWeights(dir, o)
		if err != nil {
			return nil, err
		}
		if !same {
			others = append(others, need)
		}
	}
	return others, nil
}

// checkInputs returns an *Invalid if weights that this stage depends on have changed since it
// read them.
func (b *startedStage) checkInputs(c *presets.Config, dir string) error {
	others, err := b.otherInputs(dir)
	if err != nil || len(others) == 0 {
		return err
	}
	return &Invalid{fmt.Errorf("the weights of %[2]s have changed since stage %[1]s was trained; to train it again, with the stages that depend on it:\n  %[3]s",
		b.Name, joinWords(others), trainAgain(c, dir, []string{b.Name}))}
}

// continuedIdentity returns the identity of a stage that continues after harmless changes. It
// records each changed value as "earlier, then later" (appendValue).
func continuedIdentity(c *presets.Config, s method.Stage, was *runs.Identity, now runs.Data) *runs.Identity {
	id := &runs.Identity{Recipe: maps.Clone(was.Recipe), Data: was.Data, Inputs: was.Inputs}
	for _, d := range changes(c, s, was.Recipe) {
		if d.known() {
			id.Recipe[d.key] = appendValue(d.was, d.now)
		}
	}
	for _, i := range []struct{ was, now *runs.Images }{{&id.Data.Train, &now.Train}, {&id.Data.Eval, &now.Eval}} {
		i.was.Digest, i.was.Count = appendValue(i.was.Digest, i.now.Digest), i.now.Count
	}
	return id
}

// Difference describes how a finished stage of another run, with outcome o, differs from
// stage s of experiment c. It returns "" if the stage can be taken over, because training it
// would give the same weights, bit for bit. ownOutcome returns the outcome of a stage in the
// experiment's own run, nil if the stage is not done.
func Difference(ctx context.Context, c *presets.Config, s method.Stage, o *runs.Outcome, ownOutcome func(stage string) (*runs.Outcome, error)) (string, error) {
	if o.Identity == nil {
		return "", nil // trained by an older version, so that there is nothing to compare
	}
	if all := changes(c, s, o.Recipe); len(all) > 0 {
		return fmt.Sprintf("%s was %s there and is %s here", all[0].key, orNothing(all[0].was), orNothing(all[0].now)), nil
	}
	for _, need := range s.Needs {
		own, err := ownOutcome(need)
		if err != nil {
			return "", err
		}
		if own == nil || own.Weights != o.Inputs[need] {
			return fmt.Sprintf("it was trained with other weights of stage %s", need), nil
		}
	}
	train, eval, err := datasets.Open(ctx, Source(withPart(c, s.Module)))
	if err != nil {
		return "", asInterrupted(ctx, err)
	}
	v := newView(c, train, eval)
	set, err := v.trainSet(s)
	if err != nil {
		return "", err
	}
	now, err := v.stageData(ctx, set)
	if err != nil {
		return "", err
	}
	if d := otherClass(o.Data.Classes, now.Classes); d != "" {
		return d, nil
	}
	if d := otherImages(o.Data.Train, now.Train); d != "" {
		return "training images: " + d, nil
	}
	if d := otherImages(o.Data.Eval, now.Eval); d != "" {
		return "evaluation images: " + d, nil
	}
	for _, digest := range []string{o.Data.Train.Digest, o.Data.Eval.Digest} {
		if before, _ := splitLast(digest); before != "" {
			return "the images changed while it was trained", nil
		}
	}
	return "", nil
}

func orNothing(value string) string {
	if value == "" {
		return "nothing"
	}
	return value
}

// CheckRecipe compares configuration c with the one that the stages of the run in dir were
// trained with. It checks the finished stages, and s, which may be in progress. It does not
// check the data. The error is an *Invalid that names every key whose change would change a
// result.
func CheckRecipe(c *presets.Config, dir string, s method.Stage) error {
	all, err := readAllStarted(dir, method.Stages(c), onlyStage(s))
	if err != nil {
		return explain(c, dir, err)
	}
	r, err := compare(c, dir, all, nil)
	if err != nil {
		return explain(c, dir, err)
	}
	return r.err()
}

// CheckResume checks whether the run in dir can continue with configuration c and the current
// data. It does not change the folder. The error is that of ctx, or an *Invalid that names
// every difference.
func CheckResume(ctx context.Context, c *presets.Config, dir string) error {
	return checkFolder(ctx, c, dir, anyStage)
}

// CheckStage is CheckResume for a process that executes only stage s, while other
// processes may be executing other stages.
func CheckStage(ctx context.Context, c *presets.Config, dir string, s method.Stage) error {
	return checkFolder(ctx, withPart(c, s.Module), dir, onlyStage(s))
}

func checkFolder(ctx context.Context, c *presets.Config, dir string, progress func(method.Stage) bool) error {
	all, err := readAllStarted(dir, method.Stages(c), progress)
	if err != nil {
		return explain(c, dir, err)
	}
	if len(all) == 0 {
		return nil
	}
	train, eval, err := datasets.Outline(ctx, Source(c))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return &Invalid{err}
	}
	r, err := compare(c, dir, all, newView(c, train, eval).currentData(ctx))
	if err != nil {
		return explain(c, dir, err)
	}
	return r.err()
}

// review compares the started stages of the run folder with the experiment. It emits
// warnings, and returns an *Invalid if the run cannot continue.
func (r *runner) review(ctx context.Context, stages []method.Stage, progress func(method.Stage) bool) error {
	all, err := readAllStarted(r.run.Dir(), stages, progress)
	if err != nil || len(all) == 0 {
		return err
	}
	found, err := compare(r.config, r.run.Dir(), all, r.view.currentData(ctx))
	if err != nil {
		return asInterrupted(ctx, err)
	}
	if err := found.err(); err != nil {
		return err
	}
	for _, w := range found.warnings {
		if err := r.run.Emit(runs.Event{Kind: runs.Warning, Message: w}); err != nil {
			return err
		}
	}
	return nil
}

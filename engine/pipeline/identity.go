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
	"hatchery/engine/runs"
	"hatchery/models"
	"hatchery/presets"
)

// A stage that has begun is one of an experiment: of a configuration, of a data
// set, of the weights that it started from. All three are in its checkpoints
// (runs.Identity), and whoever goes on compares them with those at hand. What
// would change the result is refused, what changes it by rounding or may have
// changed it is said, and what changes nothing is obeyed.

// begun is a stage of a run folder that has begun.
type begun struct {
	Stage
	done   bool
	id     *runs.Identity    // nil: of a version that kept none
	legacy map[string]string // metadata of a stage without an identity
}

// found says what there is of a stage in a run folder; nil if it has not begun.
func found(dir string, s Stage) (*begun, error) {
	o, err := runs.ReadOutcome(dir, s.Name)
	if err != nil {
		return nil, err
	}
	b := &begun{Stage: s, done: o != nil}
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

// foundAll is found for stages; those in progress are left out where others may
// be at work on them.
func foundAll(dir string, stages []Stage, progress func(Stage) bool) ([]*begun, error) {
	var all []*begun
	for _, s := range stages {
		if !progress(s) {
			if o, err := runs.ReadOutcome(dir, s.Name); err != nil {
				return nil, err
			} else if o == nil {
				continue
			}
		}
		b, err := found(dir, s)
		if err != nil {
			return nil, err
		}
		if b != nil {
			all = append(all, b)
		}
	}
	return all, nil
}

func every(Stage) bool { return true }

// only leaves stages in progress to whoever is at work on them, but for s.
func only(s Stage) func(Stage) bool { return func(other Stage) bool { return other.Name == s.Name } }

// weightsDigest stands for the weights of a checkpoint that later stages read,
// and for nothing else that is in it: a stage that is trained again to the same
// weights has the same.
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

// digestOf is the weightsDigest of a stage that is done.
func digestOf(dir string, o *runs.Outcome) (string, error) {
	if o.Weights != "" {
		return o.Weights, nil
	}
	c, err := runs.LoadFinal(dir, o.Stage) // of an older version, which did not write it down
	if err != nil {
		return "", err
	}
	return weightsDigest(c), nil
}

// metaInput + stage is the metadata key under which older versions kept the seal
// of the whole checkpoint that a stage read.
const metaInput = "input/"

// read says whether a stage read the weights that a stage it needs, which is
// done, has now.
func (b *begun) read(dir string, need *runs.Outcome) (bool, error) {
	if b.id == nil {
		was := b.legacy[metaInput+need.Stage]
		return was == "" || was == need.SHA256, nil
	}
	now, err := digestOf(dir, need)
	return b.id.Inputs[need.Stage] == now, err
}

// otherInputs lists the stages, of those that a stage needs and that are done, that
// have other weights now than those it read.
func (b *begun) otherInputs(dir string) ([]string, error) {
	var others []string
	for _, need := range b.Needs {
		o, err := runs.ReadOutcome(dir, need)
		if err != nil {
			return nil, err
		}
		if o == nil {
			continue
		}
		same, err := b.read(dir, o)
		if err != nil {
			return nil, err
		}
		if !same {
			others = append(others, need)
		}
	}
	return others, nil
}

// checkInputs is an *Invalid if the stage has read other weights of the stages that
// it needs than they have now.
func (b *begun) checkInputs(c *presets.Config, dir string) error {
	others, err := b.otherInputs(dir)
	if err != nil || len(others) == 0 {
		return err
	}
	return &Invalid{fmt.Errorf("the weights of %[2]s have changed since stage %[1]s was trained; to train it again, with the stages that depend on it:\n  %[3]s",
		b.Name, listed(others), trainAgain(c, dir, []string{b.Name}))}
}

// wentOn is the identity of a stage that went on, in spite of changes that do not
// keep it from that, with what there is now.
func wentOn(c *presets.Config, s Stage, was *runs.Identity, now runs.Data) *runs.Identity {
	id := &runs.Identity{Recipe: maps.Clone(was.Recipe), Data: was.Data, Inputs: was.Inputs}
	for _, d := range changes(c, s, was.Recipe) {
		if d.known() {
			id.Recipe[d.key] = thenNow(d.was, d.now)
		}
	}
	for _, i := range []struct{ was, now *runs.Images }{{&id.Data.Train, &now.Train}, {&id.Data.Eval, &now.Eval}} {
		i.was.Digest, i.was.Count = thenNow(i.was.Digest, i.now.Digest), i.now.Count
	}
	return id
}

// Differs says in what a stage that is done is not the one that an experiment
// would have: "" if it can be taken over, bit for bit. have gives what the
// experiment's own run has of the stages that this one needs.
func Differs(ctx context.Context, c *presets.Config, s Stage, o *runs.Outcome, have func(stage string) (*runs.Outcome, error)) (string, error) {
	if o.Identity == nil {
		return "", nil // nothing is known
	}
	if all := changes(c, s, o.Recipe); len(all) > 0 {
		return fmt.Sprintf("%s was %s there and is %s here", all[0].key, orNothing(all[0].was), orNothing(all[0].now)), nil
	}
	for _, need := range s.Needs {
		mine, err := have(need)
		if err != nil {
			return "", err
		}
		if mine == nil || mine.Weights != o.Inputs[need] {
			return fmt.Sprintf("it was trained with other weights of stage %s", need), nil
		}
	}
	train, eval, err := datasets.Open(ctx, Source(withPart(c, s)))
	if err != nil {
		return "", interrupted(ctx, err)
	}
	v := newView(c, train, eval)
	set, err := v.trainSet(s)
	if err != nil {
		return "", err
	}
	now, err := v.of(ctx, set)
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
		if before, _ := split(digest); before != "" {
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

// CheckRecipe finds out whether the stages of the run in dir that are done, and
// the one that is given, which may be in progress, are of the experiment that c
// is now. The error is an *Invalid that names every key that is not.
func CheckRecipe(c *presets.Config, dir string, s Stage) error {
	all, err := foundAll(dir, Stages(c), only(s))
	if err != nil {
		return explain(c, dir, err)
	}
	r, err := compare(c, dir, all, nil)
	if err != nil {
		return explain(c, dir, err)
	}
	return r.err()
}

// CheckResume finds out whether the run in dir can go on as c is now and with the
// data as they are now, before anything in the folder is touched. The error is an
// *Invalid that names every difference, or that of ctx.
func CheckResume(ctx context.Context, c *presets.Config, dir string) error {
	return checkFolder(ctx, c, dir, every)
}

// CheckStage is CheckResume for a process that executes one stage, while others
// may be at work on the others.
func CheckStage(ctx context.Context, c *presets.Config, dir string, s Stage) error {
	return checkFolder(ctx, withPart(c, s), dir, only(s))
}

func checkFolder(ctx context.Context, c *presets.Config, dir string, progress func(Stage) bool) error {
	all, err := foundAll(dir, Stages(c), progress)
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
	r, err := compare(c, dir, all, newView(c, train, eval).sees(ctx))
	if err != nil {
		return explain(c, dir, err)
	}
	return r.err()
}

// review compares what there is of a run with its experiment, and has warnings
// written to its events.
func (r *runner) review(ctx context.Context, stages []Stage, progress func(Stage) bool) error {
	all, err := foundAll(r.run.Dir(), stages, progress)
	if err != nil || len(all) == 0 {
		return err
	}
	found, err := compare(r.config, r.run.Dir(), all, r.view.sees(ctx))
	if err != nil {
		return interrupted(ctx, err)
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

package pipeline

import (
	"fmt"
	"strings"

	"hatchery/engine/runs"
	"hatchery/presets"
)

// review is the result of comparing a run folder with an experiment.
type review struct {
	config   *presets.Config
	dir      string
	refused  []string // sentences, one for each difference that would change a result
	retrain  []string // stages that would have to be trained again
	recipe   bool     // a key of the configuration is a reason for refusal
	data     bool     // images or classes are a reason for refusal
	warnings []string
}

// findings collects sentences and the stages that each sentence applies to.
type findings struct {
	order  []sentence
	stages map[sentence][]string
}

// sentence is a sentence without its stages; the full text is, for example,
// before + " meta and module-1 were trained" + after.
type sentence struct{ before, after string }

func (f *findings) add(stage, before, after string, args ...any) {
	if f.stages == nil {
		f.stages = map[sentence][]string{}
	}
	key := sentence{before, fmt.Sprintf(after, args...)}
	if f.stages[key] == nil {
		f.order = append(f.order, key)
	}
	f.stages[key] = append(f.stages[key], stage)
}

func (f *findings) sentences() []string {
	var all []string
	for _, key := range f.order {
		stages, verb := f.stages[key], " was trained"
		if len(stages) > 1 {
			verb = " were trained"
		}
		all = append(all, key.before+" "+joinWords(stages)+verb+key.after)
	}
	return all
}

// joinWords joins words like "a, b and c".
func joinWords(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
	return strings.Join(words, "")
}

// compare compares started stages with experiment c. currentData returns the data that a
// stage would use now; if it is nil, data are not compared.
func compare(c *presets.Config, dir string, all []*startedStage, currentData func(*startedStage) (runs.Data, error)) (*review, error) {
	r := &review{config: c, dir: dir}
	var refused, warned findings
	var unrecorded []string
	refuse := func(b *startedStage, before, after string, args ...any) {
		refused.add(b.Name, before, after, args...)
		r.retrain = append(r.retrain, b.Name)
	}
	for _, b := range all {
		inputs, err := b.otherInputs(dir)
		if err != nil {
			return nil, err
		}
		for _, need := range inputs {
			refuse(b, "the weights of stage "+need+" have changed since", "")
		}
		if b.id == nil {
			unrecorded = append(unrecorded, b.Name)
			continue
		}
		for _, d := range changes(c, b.Stage, b.id.Recipe) {
			when := d.key + " was " + d.was + " when"
			switch {
			case d.was == "":
				warned.add(b.Name, d.key+" did not exist when", "; it is %s now", d.now)
			case d.now == "":
				warned.add(b.Name, when, "; this version has no such key")
			case d.effect == presets.EffectResult:
				refuse(b, when, ", and is %s now", d.now)
				r.recipe = true
			case b.done: // a finished stage is not affected by the changes below
			case d.effect == presets.EffectRounding:
				warned.add(b.Name, when, ", and is %s now: the result will be the same up to rounding, not bit for bit", d.now)
			case d.effect == presets.EffectCurves:
				warned.add(b.Name, when, ", and is %s now: this changes when it is evaluated, not its weights", d.now)
			}
		}
		if currentData == nil {
			continue
		}
		now, err := currentData(b)
		if err != nil {
			return nil, err
		}
		was := b.id.Data
		if d := otherClass(was.Classes, now.Classes); d != "" {
			refuse(b, "the classes of the data set differ from those on which", ": %s", d)
			r.data = true
			continue
		}
		train := otherImages(was.Train, now.Train)
		if train == "" && was.Epoch != now.Epoch && now.Epoch > 0 {
			train = fmt.Sprintf("an epoch went over %d, and goes over %d", was.Epoch, now.Epoch)
		}
		switch {
		case train == "":
		case !b.done: // it would continue with other images, or with other labels
			refuse(b, "the training images differ from those on which", ": %s", train)
			r.data = true
		default:
			warned.add(b.Name, "the training images differ from those on which", ": %s", train)
		}
		if d := otherImages(was.Eval, now.Eval); d != "" {
			warned.add(b.Name, "the evaluation images have changed since", ", so accuracies cannot be compared: %s", d)
		}
	}
	r.refused, r.warnings = refused.sentences(), warned.sentences()
	if len(unrecorded) > 0 {
		r.warnings = append(r.warnings, fmt.Sprintf("an older version of hatchery, which did not record the configuration and data of a stage, started %s: "+
			"cannot check whether they match config.toml and the current data", joinWords(unrecorded)))
	}
	return r, nil
}

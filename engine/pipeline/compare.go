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
	again    []string // stages that would have to be trained again
	recipe   bool     // a key of the configuration is the reason for a refusal
	data     bool     // images or classes are the reason for a refusal
	warnings []string
}

// findings collects sentences, and for each sentence the stages that it is true of.
type findings struct {
	order  []sentence
	stages map[sentence][]string
}

// sentence is completed as before + " meta and module-1 were trained" + after.
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
		all = append(all, key.before+" "+listed(stages)+verb+key.after)
	}
	return all
}

// listed joins words as in "a, b and c".
func listed(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
	return strings.Join(words, "")
}

// compare compares stages that have begun with experiment c. sees returns the data
// that a stage would see now; if sees is nil, the data are not compared.
func compare(c *presets.Config, dir string, all []*begun, sees func(*begun) (runs.Data, error)) (*review, error) {
	r := &review{config: c, dir: dir}
	var refused, warned findings
	var silent []string
	refuse := func(b *begun, before, after string, args ...any) {
		refused.add(b.Name, before, after, args...)
		r.again = append(r.again, b.Name)
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
			silent = append(silent, b.Name)
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
				warned.add(b.Name, when, ", and is %s now: that changes when it is evaluated, not its weights", d.now)
			}
		}
		if sees == nil {
			continue
		}
		now, err := sees(b)
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
		case !b.done: // it would go on with other images, or the same with other labels
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
	if len(silent) > 0 {
		r.warnings = append(r.warnings, fmt.Sprintf("an older version of hatchery, which did not record what a stage is made from, began %s: "+
			"whether that matches config.toml and the data as they are now cannot be checked", listed(silent)))
	}
	return r, nil
}

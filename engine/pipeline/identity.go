package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

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
	final  *runs.Outcome     // if it is done
}

// found says what there is of a stage in a run folder; nil if it has not begun.
func found(dir string, s Stage) (*begun, error) {
	o, err := runs.ReadOutcome(dir, s.Name)
	if err != nil {
		return nil, err
	}
	b := &begun{Stage: s, done: o != nil, final: o}
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
	return &Invalid{fmt.Errorf("stage %s was trained with other weights of %s than are there now; to train it again, with what depends on it:\n  %s",
		b.Name, listed(others), trainAgain(c, dir, []string{b.Name}))}
}

// view is the data of an experiment as this machine has it.
type view struct {
	config  *presets.Config
	train   *datasets.Set
	eval    *datasets.Set
	digests map[*datasets.Set]string
}

func newView(c *presets.Config, train, eval *datasets.Set) *view {
	return &view{c, train, eval, map[*datasets.Set]string{}}
}

func (v *view) images(ctx context.Context, s *datasets.Set) (runs.Images, error) {
	digest, ok := v.digests[s]
	if !ok {
		var err error
		if digest, err = s.Digest(ctx); err != nil {
			return runs.Images{}, err
		}
		if s == v.train || s == v.eval {
			v.digests[s] = digest
		}
	}
	return runs.Images{Count: s.Len(), Digest: digest}, nil
}

// common is what every stage sees.
func (v *view) common(ctx context.Context) (runs.Data, error) {
	eval, err := v.images(ctx, v.eval)
	return runs.Data{Classes: v.train.Classes, Eval: eval}, err
}

// of is what a stage sees that trains on set; nil for one that does not train.
func (v *view) of(ctx context.Context, set *datasets.Set) (runs.Data, error) {
	d, err := v.common(ctx)
	if err != nil || set == nil {
		return d, err
	}
	if d.Train, err = v.images(ctx, set); err != nil {
		return d, err
	}
	d.Epoch = epochImages(v.config, v.train)
	if set.Part.K > 0 {
		d.Part = set.Part.String()
	}
	return d, nil
}

// trainSet is what a stage trains on: all of the training images, or its part of
// them; nil for one that does not train.
func (v *view) trainSet(s Stage) (*datasets.Set, error) {
	switch {
	case s.Kind == Assemble:
		return nil, nil
	case s.Module > 0 && v.config.Data.Partition:
		return v.train.Partition(v.config.Modules.K, s.Module-1, partitionSeed)
	}
	return v.train, nil
}

// sees gives what a stage that has begun would see now, as far as this machine can
// tell and it matters.
func (v *view) sees(ctx context.Context) func(*begun) (runs.Data, error) {
	return func(b *begun) (runs.Data, error) {
		if b.done && (b.Module > 0 && v.config.Data.Partition || v.train.Part.K > 0) {
			return v.common(ctx) // its part is not needed any more, or is elsewhere
		}
		set, err := v.trainSet(b.Stage)
		if err != nil {
			return runs.Data{}, err
		}
		return v.of(ctx, set)
	}
}

// otherClass names the first class that is not the one there was; "" if all are.
func otherClass(was, now []string) string {
	for i := range max(len(was), len(now)) {
		switch {
		case i >= len(now):
			return fmt.Sprintf("there were %d classes and are %d: %q is missing", len(was), len(now), was[i])
		case i >= len(was):
			return fmt.Sprintf("there were %d classes and are %d: %q is new", len(was), len(now), now[i])
		case was[i] != now[i]:
			return fmt.Sprintf("class %d of %d was %q and is %q", i+1, len(was), was[i], now[i])
		}
	}
	return ""
}

// otherImages says in what the images of a split differ from those there were; ""
// if they do not, or it is not known.
func otherImages(was, now runs.Images) string {
	_, last := split(was.Digest)
	switch {
	case was.Count == 0 || now.Count == 0:
	case was.Count != now.Count:
		return fmt.Sprintf("there were %d, and are %d", was.Count, now.Count)
	case last != "" && now.Digest != "" && last != now.Digest:
		return fmt.Sprintf("there are %d as before, but their names, sizes, order or pixels are not the same", now.Count)
	}
	return ""
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
		return fmt.Sprintf("%s was %s, and is %s here", all[0].key, orNothing(all[0].was), orNothing(all[0].now)), nil
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

// review is what a comparison of a run folder with an experiment finds.
type review struct {
	config   *presets.Config
	dir      string
	refused  []string
	again    []string // stages that would have to be trained again
	recipe   bool     // a key of the configuration is among what is refused
	data     bool     // so are images or classes
	warnings []string
}

// said collects sentences that are true of several stages.
type said struct {
	order  []sentence
	stages map[sentence][]string
}

// sentence has the stages, and that they were trained, between its two parts.
type sentence struct{ before, after string }

func (s *said) add(stage, before, after string, args ...any) {
	if s.stages == nil {
		s.stages = map[sentence][]string{}
	}
	key := sentence{before, fmt.Sprintf(after, args...)}
	if s.stages[key] == nil {
		s.order = append(s.order, key)
	}
	s.stages[key] = append(s.stages[key], stage)
}

func (s *said) sentences() []string {
	var all []string
	for _, key := range s.order {
		stages, verb := s.stages[key], " was trained"
		if len(stages) > 1 {
			verb = " were trained"
		}
		all = append(all, key.before+" "+listed(stages)+verb+key.after)
	}
	return all
}

// listed is "a, b and c".
func listed(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
	return strings.Join(words, "")
}

// compare compares stages that have begun with the experiment. sees gives what each
// would see now; if it is nil, the data are not compared.
func compare(c *presets.Config, dir string, all []*begun, sees func(*begun) (runs.Data, error)) (*review, error) {
	r := &review{config: c, dir: dir}
	var refused, warned said
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
			refuse(b, "stage "+need+" has other weights now than when", "")
		}
		if b.id == nil {
			silent = append(silent, b.Name)
			continue
		}
		for _, d := range changes(c, b.Stage, b.id.Recipe) {
			when := d.key + " was " + d.was + " when"
			switch {
			case d.was == "":
				warned.add(b.Name, d.key+" was not known when", ", and is %s now", d.now)
			case d.now == "":
				warned.add(b.Name, when, "; this version has no such key")
			case d.effect == result:
				refuse(b, when, ", and is %s now", d.now)
				r.recipe = true
			case b.done: // and the change comes too late
			case d.effect == rounding:
				warned.add(b.Name, when, ", and is %s now: the result will be the same up to rounding, not bit for bit", d.now)
			case d.effect == curves:
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
			refuse(b, "the classes of the data set are not those on which", ": %s", d)
			r.data = true
			continue
		}
		train := otherImages(was.Train, now.Train)
		if train == "" && was.Epoch != now.Epoch && now.Epoch > 0 {
			train = fmt.Sprintf("an epoch went over %d, and goes over %d", was.Epoch, now.Epoch)
		}
		if longer := was.Epoch != now.Epoch || was.Train.Count != now.Train.Count; train != "" && longer && !b.done {
			refuse(b, "the training images are not those on which", ": %s; its epochs would have another length", train)
			r.data = true
		} else if train != "" {
			warned.add(b.Name, "the training images are not those on which", ": %s", train)
		}
		if d := otherImages(was.Eval, now.Eval); d != "" {
			warned.add(b.Name, "the evaluation images are not those of when", ", so that accuracies cannot be compared: %s", d)
		}
	}
	r.refused, r.warnings = refused.sentences(), warned.sentences()
	if len(silent) > 0 {
		r.warnings = append(r.warnings, fmt.Sprintf("a version of hatchery that did not keep what a stage was made from has begun %s: "+
			"whether that is what config.toml says, on the data there are now, cannot be checked", listed(silent)))
	}
	return r, nil
}

// err is an *Invalid that says what keeps the stages from going on, and what to
// type; nil if nothing does.
func (r *review) err() error {
	if len(r.refused) == 0 {
		return nil
	}
	config := shellWord(filepath.Join(r.dir, "config.toml"))
	ways := ""
	if r.data {
		ways += "Put back the images that there were, or set data.root in " + config + " to a folder that has them.\n"
	}
	if r.recipe {
		ways += "Set that back in " + config + ".\n"
	}
	if r.data || r.recipe {
		ways += "Or start a new run with what there is now:\n  hatchery run " + config + "\nOr remove"
	} else {
		ways = "Remove"
	}
	return &Invalid{fmt.Errorf("%s cannot go on, since its stages were trained otherwise:\n  %s\n%s what was trained otherwise, with what depends on it, and train it again:\n  %s",
		r.dir, strings.Join(r.refused, "\n  "), ways, trainAgain(r.config, r.dir, r.again))}
}

// trainAgain is the command that has stages, and those that depend on them,
// trained again.
func trainAgain(c *presets.Config, dir string, names []string) string {
	remove := "rm -r"
	for _, name := range dependents(c, names) {
		if folder := runs.StageDir(dir, name); exists(folder) {
			remove += " " + shellWord(folder)
		}
	}
	return remove + " && hatchery resume " + shellWord(dir)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// dependents lists the given stages and those that depend on them, in the order
// of the experiment.
func dependents(c *presets.Config, names []string) []string {
	var all []string
	for _, s := range Stages(c) {
		depends := func(need string) bool { return slices.Contains(all, need) }
		if slices.Contains(names, s.Name) || slices.ContainsFunc(s.Needs, depends) || slices.ContainsFunc(s.After, depends) {
			all = append(all, s.Name)
		}
	}
	return all
}

// shellWord quotes a word for a POSIX shell, if it has to be.
func shellWord(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+=:,@", r)
	}
	if word != "" && !strings.ContainsFunc(word, func(r rune) bool { return !plain(r) }) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
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

// explain adds to the error of a damaged stage what to type.
func explain(c *presets.Config, dir string, err error) error {
	var d *runs.Damaged
	if !errors.As(err, &d) {
		return err
	}
	done := shellWord(filepath.Join(runs.StageDir(dir, d.Stage), "done"))
	resume := "hatchery resume " + shellWord(dir)
	if filepath.Base(d.Path) == "done" {
		return fmt.Errorf("%w\nremove it, and the stage goes on from its last checkpoint:\n  rm %s && %s", err, done, resume)
	}
	var can, cannot []string // tell, of those that read its weights, when they are the same again
	for _, s := range Stages(c) {
		if !slices.Contains(s.Needs, d.Stage) {
			continue
		}
		switch b, err := found(dir, s); {
		case err != nil || b == nil:
		case b.id != nil:
			can = append(can, s.Name)
		default:
			cannot = append(cannot, s.Name)
		}
	}
	remove, rest := "rm -f "+done+" "+shellWord(d.Path), ""
	if len(can) > 0 {
		rest = fmt.Sprintf(". What was trained with its weights (%s) stays: the same weights, which come out again on the same device, are accepted", listed(can))
	}
	if len(cannot) > 0 {
		remove += " && rm -rf"
		for _, name := range dependents(c, cannot) {
			remove += " " + shellWord(runs.StageDir(dir, name))
		}
		rest += fmt.Sprintf(". What an older version of hatchery trained with its weights (%s) must be trained again, with what depends on it", listed(cannot))
	}
	return fmt.Errorf("%w\nRemove the file, and the mark that the stage is done: it goes on from the checkpoint before, or from its beginning%s:\n  %s && %s", err, rest, remove, resume)
}

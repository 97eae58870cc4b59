package presets

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	"hatchery/datasets/randaugment"
	"hatchery/models"
)

// Words that the program knows.
var (
	methods       = []string{"assembling", "imitation", "e2e"}
	budgets       = []string{"epochs", "cost"}
	scheduleUnits = []string{"epoch", "step"}
	compats       = []string{"none", "official"}
	decayStarts   = []string{"start", "warmup"}
	optimizers    = []string{"adamw", "lamb"}
	dropPathModes = []string{"linear", "uniform"}
	emaModes      = []string{"beside", "instead"}
	paperMethods  = []string{"", "assembling", "imitation", "e2e", "e2e-vit", "e2e-mae", "infopro", "dgl",
		"assembling-all", "assembling-k2", "assembling-k8", "assembling-k16"}
	paperMetrics = []string{"top1", "gpu_hours", "train_loss", "gmacs", "mparams"}
)

// DataInfo is what validation needs to know of a data set. A zero means that it
// is not known, or not the same for every image.
type DataInfo struct {
	Classes       int
	Height, Width int // pixels, as the model gets them
	Channels      int
	Train, Eval   int // images
}

// Validate checks the values against one another before anything is computed.
// The error is a [Problems] with all that it found. The zero DataInfo leaves out
// what depends on the data: a preset can be planned without its data set.
//
// used names the tables of the stages that will run ("meta", "modular", "finetune",
// "e2e", "highres"); if it is empty, all will. The other tables must be valid by
// themselves, since methods may be added later, but need not fit the data or the rest
// of the configuration.
func (c *Config) Validate(data DataInfo, used ...string) error {
	if len(used) == 0 {
		used = stages
	}
	v := validator{c: c, v: reflect.ValueOf(c).Elem(), used: used}
	v.finite()
	v.described()
	v.shape()
	v.augment()
	v.run()
	v.slurm()
	for i, s := range c.stages() {
		v.stage(stages[i], s)
	}
	if c.HighRes.Image != 0 {
		v.highRes()
	}
	v.data(data)
	return v.problems.err()
}

// stages are the recipes in the order of their tables' names, the last only if
// there is such a stage.
func (c *Config) stages() []*Stage {
	all := []*Stage{&c.Meta, &c.Modular, &c.Finetune, &c.E2E}
	if c.HighRes.Image != 0 {
		all = append(all, &c.HighRes.Stage)
	}
	return all
}

// Runnable says why this version cannot run a configuration that may be valid
// and can be planned: parts of the recipe that are not built, or no method to
// run. Missing data sets are for the package datasets to report.
func (c *Config) Runnable() error {
	v := validator{c: c, v: reflect.ValueOf(c).Elem()}
	if len(c.Run.Methods) == 0 {
		v.fail("run.methods", "no method to run: this preset records a model and the paper's numbers",
			`plan works; to train, set run.methods = ["assembling", "e2e"] and read the preset's notes`)
	}
	for _, what := range c.Missing {
		v.fail("missing", "needs "+what+", which is not built yet", "plan works; to train without it, set missing = []")
	}
	return v.problems.err()
}

// validator collects problems under the keys and places where they were written.
type validator struct {
	c        *Config
	v        reflect.Value
	used     []string // tables of the stages that will run
	problems Problems
}

// uses reports whether a stage will run that has its recipe in a table.
func (v *validator) uses(table string) bool { return slices.Contains(v.used, table) }

// fail reports a key. Four stages with one wrong value from [train] are one problem.
func (v *validator) fail(key, reason, hint string) {
	p := Problem{Key: key, Reason: reason, Hint: hint}
	if at, ok := v.c.origins[key]; ok {
		p.Where, p.Key = at.where, at.key
	}
	if f := lookup(key); f != nil && key != "paper" { // whose value is a page long
		p.Value = shorten(literal(v.v.FieldByIndex(f.index)))
	}
	if !slices.Contains(v.problems, p) {
		v.problems = append(v.problems, p)
	}
}

// finite refuses NaN and Inf, which every comparison below would let pass.
func (v *validator) finite() {
	bad := func(x float64) bool { return math.IsNaN(x) || math.IsInf(x, 0) }
	for _, f := range fields {
		if f.index == nil {
			continue
		}
		switch x := v.v.FieldByIndex(f.index).Interface().(type) {
		case float64:
			if bad(x) {
				v.fail(f.key, "must be a finite number", "")
			}
		case []float64:
			if slices.ContainsFunc(x, bad) {
				v.fail(f.key, "must hold finite numbers", "")
			}
		case []Result:
			if slices.ContainsFunc(x, func(r Result) bool { return bad(r.Value) }) {
				v.fail(f.key, "must hold finite numbers", "")
			}
		}
	}
}

func (v *validator) described() {
	if !slices.Contains(compats, v.c.Compat) {
		v.fail("compat", "unknown", choice(v.c.Compat, compats))
	}
	name := v.c.Name
	if name == "" || strings.HasPrefix(name, ".") || strings.ContainsAny(name, "/\\\x00\r\n") {
		v.fail("name", "must not be empty, begin with a dot or hold / or \\, since it names folders", "")
	}
	if v.c.Seed > math.MaxInt64 {
		v.fail("seed", "too large for TOML", "give at most 9223372036854775807")
	}
	seen := map[[3]string]bool{}
	for _, r := range v.c.Paper {
		if !slices.Contains(paperMethods, r.Method) {
			v.fail("paper", fmt.Sprintf("unknown method %q", r.Method), choice(r.Method, paperMethods[1:]))
		}
		if !slices.Contains(paperMetrics, r.Metric) {
			v.fail("paper", fmt.Sprintf("unknown metric %q", r.Metric), choice(r.Metric, paperMetrics))
		}
		id := [3]string{r.Source, r.Method, r.Metric}
		if seen[id] {
			v.fail("paper", fmt.Sprintf("two values of %s of %q in %q", r.Metric, r.Method, r.Source), "keep one")
		}
		seen[id] = true
	}
}

// count fails a key whose integer n is below least or above most. Sums and products of
// larger integers could overflow.
func (v *validator) count(key string, n, least, most int, hint string) bool {
	switch {
	case n < least && least == 1:
		v.fail(key, "must be at least 1", hint)
	case n < least:
		v.fail(key, fmt.Sprintf("must not be below %d", least), hint)
	case n > most:
		v.fail(key, fmt.Sprintf("is more than can be used; give at most %d", most), hint)
	}
	return n >= least && n <= most
}

// Upper limits of counts. No known experiment comes near them.
const (
	maxEpochs  = 1_000_000
	maxBatch   = 1 << 20
	maxImages  = 1 << 40 // of a data set
	maxRepeats = 1000
	maxDepth   = 1024    // blocks: planning a network takes minutes from there on
	maxThreads = 1024    // more than any machine has processors; further threads only take time to start
	maxTokens  = 1 << 18 // of an image: patches of 512 x 512
)

// maxSize keeps a slip of the finger, or a file that means harm, from asking
// for lists of a thousand million layers. No known model comes near it.
const maxSize = 1 << 16

// shape checks the model and its division, by the rules of package models.
func (v *validator) shape() {
	m, d := v.c.Model, v.c.Modules
	fits := true
	for _, n := range []struct {
		key        string
		size, most int
	}{
		{"model.image", m.Image, maxSize}, {"model.channels", m.Channels, maxSize}, {"model.patch", m.Patch, maxSize}, {"model.width", m.Width, maxSize},
		{"model.depth", m.Depth, maxDepth}, {"model.heads", m.Heads, maxSize}, {"model.classes", m.Classes, maxSize},
		{"modules.k", d.K, maxDepth}, {"modules.meta_depth", d.MetaDepth, maxDepth / max(1, min(d.K, maxDepth))},
	} {
		if n.size > n.most {
			v.fail(n.key, "is not a size that can be built", fmt.Sprintf("give at most %d", n.most))
			fits = false
		}
	}
	for _, n := range d.Split {
		if n > maxSize {
			v.fail("modules.split", "holds a depth that cannot be built", fmt.Sprintf("give at most %d", maxSize))
			fits = false
		}
	}
	if !fits {
		return
	}
	if m.Patch > 0 && m.Image%m.Patch == 0 && (m.Image/m.Patch)*(m.Image/m.Patch) > maxTokens {
		v.fail("model.patch", fmt.Sprintf("divides an image of %d pixels into more patches than can be trained", m.Image), "give a larger one")
		return
	}
	v.invalid("model.", m.Validate())
	if m.Depth > 0 { // or every k would be too many, and only the depth is wrong
		_, err := models.NewDivision(m, d.K, d.Split, d.MetaDepth)
		v.invalid("modules.", err)
	} else if d.MetaDepth < 1 {
		v.fail("modules.meta_depth", "must be at least 1", "")
	}
}

// invalid reports what package models found, joined or not, under the keys of a table.
func (v *validator) invalid(table string, err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			v.invalid(table, e)
		}
		return
	}
	var bad *models.Invalid
	if errors.As(err, &bad) {
		v.fail(table+bad.Key, bad.Problem, "")
	} else if err != nil {
		v.fail(strings.TrimSuffix(table, "."), err.Error(), "")
	}
}

func (v *validator) augment() {
	a := v.c.Augment
	if a.CropPadding < 0 || a.CropPadding >= max(v.c.Model.Image, 1) {
		v.fail("augment.crop_padding", "must be at least 0 and below model.image", "")
	}
	for _, p := range []struct {
		key  string
		rate float64
	}{{"flip", a.Flip}, {"mix_prob", a.MixProb}, {"switch_prob", a.SwitchProb}, {"reprob", a.Reprob}} {
		if p.rate < 0 || p.rate > 1 {
			v.fail("augment."+p.key, "must be a probability from 0 to 1", "")
		}
	}
	if a.Smoothing < 0 || a.Smoothing >= 1 {
		v.fail("augment.smoothing", "must be from 0 to below 1", "0.1 is usual")
	}
	if a.Mixup < 0 {
		v.fail("augment.mixup", "must not be below 0", "0 is off, 0.8 is DeiT's")
	}
	if a.CutMix < 0 {
		v.fail("augment.cutmix", "must not be below 0", "0 is off, 1 is DeiT's")
	}
	if n := len(a.ResizedCrop); n != 0 && (n != 2 || a.ResizedCrop[0] <= 0 || a.ResizedCrop[0] > a.ResizedCrop[1] || a.ResizedCrop[1] > 1) {
		v.fail("augment.resized_crop", "must hold the least and the greatest area, above 0 and up to 1", "[0.08, 1.0] is DeiT's, [] is off")
	} else if n != 0 && a.CropPadding > 0 {
		v.fail("augment.crop_padding", "there is a resized crop already", "set augment.resized_crop = [] or augment.crop_padding = 0")
	}
	if a.RandAugment != "" {
		if _, err := randaugment.Parse(a.RandAugment); err != nil {
			v.fail("augment.rand_augment", err.Error(), `"rand-m9-mstd0.5-inc1" is DeiT's, "" is off`)
		} else if c := v.c.Model.Channels; c != 1 && c != 3 {
			v.fail("augment.rand_augment", fmt.Sprintf("is for images of 1 or 3 channels, not %d", c), `set augment.rand_augment = ""`)
		}
	}
	v.count("augment.repeats", a.Repeats, 1, maxRepeats, "")
}

func (v *validator) run() {
	r := v.c.Run
	for i, m := range r.Methods {
		if m == "infopro" || m == "dgl" {
			v.fail("run.methods", fmt.Sprintf("%s is not built yet; the presets have the paper's numbers of it to compare with", m), choice("", methods))
		} else if !slices.Contains(methods, m) {
			v.fail("run.methods", fmt.Sprintf("unknown method %q", m), choice(m, methods))
		} else if slices.Contains(r.Methods[:i], m) {
			v.fail("run.methods", fmt.Sprintf("names %q twice", m), "")
		}
	}
	if !slices.Contains(budgets, r.Equal) {
		v.fail("run.equal", "unknown", choice(r.Equal, budgets))
	} else if r.Equal == "cost" && slices.Contains(r.Methods, "e2e") && r.Methods[0] == "e2e" {
		v.fail("run.equal", "e2e cannot train as long as the first method took: it is the first",
			`name another method first in run.methods, or set run.equal = "epochs"`)
	}
	if r.Together && v.c.Data.Partition && v.uses("modular") {
		v.fail("run.together", "modules that train on different parts of the data cannot share a batch", "set run.together = false or data.partition = false")
	}
	if _, err := ParseDevice(r.Device); err != nil {
		v.fail("run.device", err.Error(), `"auto", "cpu", "cuda", "cuda:1" and "cuda:0,1" are devices`)
	}
	v.count("run.threads", r.Threads, 0, maxThreads, "0 is one a core")
}

func (v *validator) stage(name string, s *Stage) {
	key := func(k string) string { return name + "." + k }
	epochs := v.count(key("epochs"), s.Epochs, 1, maxEpochs, "")
	batch := v.count(key("batch"), s.Batch, 1, maxBatch, "")
	if s.MicroBatch < 0 || batch && s.MicroBatch > 0 && s.Batch%s.MicroBatch != 0 {
		v.fail(key("micro_batch"), fmt.Sprintf("does not divide %s = %d", key("batch"), s.Batch), "0 takes the batch in one pass")
	}
	if s.MixBatch > maxBatch {
		v.count(key("mix_batch"), s.MixBatch, 0, maxBatch, "0 makes the batch one group")
	} else if s.MixBatch < 0 || s.MixBatch == 1 {
		v.fail(key("mix_batch"), "must be at least 2, since an image is mixed with another one of its group", "0 makes the batch one group")
	}
	if s.LR <= 0 {
		v.fail(key("lr"), "must be above 0", "")
	} else {
		peak := s.PeakLR()
		for _, low := range []struct {
			key string
			lr  float64
		}{{"min_lr", s.MinLR}, {"warmup_lr", s.WarmupLR}} {
			if low.lr < 0 || low.lr > peak {
				v.fail(key(low.key), fmt.Sprintf("must be from 0 to the learning rate, %g after scaling", peak), "")
			}
		}
	}
	if s.LRBatch < 0 {
		v.fail(key("lr_batch"), "must not be below 0", "0 uses lr as it is")
	}
	if s.WarmupEpochs < 0 || epochs && s.WarmupEpochs >= s.Epochs && s.WarmupEpochs > 0 {
		v.fail(key("warmup_epochs"), fmt.Sprintf("must be from 0 to below %s = %d", key("epochs"), s.Epochs),
			fmt.Sprintf("set %s lower, 0 is no warm-up", key("warmup_epochs")))
	}
	if !slices.Contains(scheduleUnits, s.ScheduleUnit) {
		v.fail(key("schedule_unit"), "unknown", choice(s.ScheduleUnit, scheduleUnits))
	}
	if !slices.Contains(decayStarts, s.DecayFrom) {
		v.fail(key("decay_from"), "unknown", choice(s.DecayFrom, decayStarts))
	}
	if v.c.Compat == "official" && s.ScheduleUnit == "step" && v.uses(name) {
		v.fail(key("schedule_unit"), `compat = "official" sets the rate once an epoch`, `set schedule_unit = "epoch" or compat = "none"`)
	}
	if !slices.Contains(optimizers, s.Optimizer) {
		v.fail(key("optimizer"), "unknown", choice(s.Optimizer, optimizers))
	}
	if s.WeightDecay < 0 {
		v.fail(key("weight_decay"), "must not be below 0", "")
	}
	if len(s.Betas) != 2 || slices.ContainsFunc(s.Betas, func(b float64) bool { return b < 0 || b >= 1 }) {
		v.fail(key("betas"), "must be two numbers from 0 to below 1", "[0.9, 0.999] is usual")
	}
	if s.Eps <= 0 {
		v.fail(key("eps"), "must be above 0", "1e-8 is usual")
	}
	if s.ClipGrad < 0 {
		v.fail(key("clip_grad"), "must not be below 0", "0 is off")
	}
	if s.DropPath < 0 || s.DropPath >= 1 {
		v.fail(key("drop_path"), "must be from 0 to below 1", "")
	}
	if !slices.Contains(dropPathModes, s.DropPathMode) {
		v.fail(key("drop_path_mode"), "unknown", choice(s.DropPathMode, dropPathModes))
	}
	if s.EMA < 0 || s.EMA >= 1 {
		v.fail(key("ema"), "must be from 0 to below 1", "0 is none, 0.9999 is usual")
	}
	if !slices.Contains(emaModes, s.EMAMode) {
		v.fail(key("ema_mode"), "unknown", choice(s.EMAMode, emaModes))
	}
	if s.EvalEvery < 0 {
		v.fail(key("eval_every"), "must not be below 0", "0 evaluates after the last epoch only")
	}
}

// highRes checks the image size of the last stage, if there is one.
func (v *validator) highRes() {
	image, patch := v.c.HighRes.Image, v.c.Model.Patch
	switch {
	case image < 0 || image > maxSize || patch > 0 && (image/patch)*(image/patch) > maxTokens:
		v.fail("highres.image", "is not a size that can be built", "0 is no such stage")
	case image > 0 && patch > 0 && image%patch != 0:
		v.fail("highres.image", fmt.Sprintf("patches of %d pixels do not divide it", patch), fmt.Sprintf("set %d", (image/patch+1)*patch))
	}
}

// data checks what only the data set can tell.
func (v *validator) data(d DataInfo) {
	m, want := v.c.Model, v.c.Data
	if want.Name == "" {
		v.fail("data.name", "must not be empty", "")
	}
	set := fmt.Sprintf("data set %s", want.Name)
	if d.Classes > 0 && m.Classes != d.Classes {
		v.fail("model.classes", fmt.Sprintf("%s has %d", set, d.Classes), fmt.Sprintf("set model.classes = %d", d.Classes))
	}
	if d.Channels > 0 && m.Channels != d.Channels {
		v.fail("model.channels", fmt.Sprintf("images of %s have %d", set, d.Channels), fmt.Sprintf("set model.channels = %d", d.Channels))
	}
	if d.Height > 0 && d.Width > 0 && (m.Image != d.Height || m.Image != d.Width) {
		v.fail("model.image", fmt.Sprintf("images of %s have %dx%d pixels", set, d.Height, d.Width), fmt.Sprintf("set model.image = %d", d.Height))
	}
	v.subset("data.train", want.Train, d.Train)
	v.subset("data.eval", want.Eval, d.Eval)
	if !(want.Fraction > 0 && want.Fraction <= 1) { // NaN too
		v.fail("data.fraction", "must be above 0, to 1", "1 takes all images")
	} else if want.Fraction < 1 && want.Train > 0 {
		v.fail("data.fraction", fmt.Sprintf("data.train = %d asks for another part", want.Train), "set data.train = 0 or data.fraction = 1")
	}

	images := want.Train
	if images <= 0 {
		images = d.Train
	}
	if images <= 0 {
		return
	}
	for i, s := range v.c.stages() {
		if s.Batch > images && v.uses(stages[i]) {
			v.fail(stages[i]+".batch", fmt.Sprintf("more than the %d training images: an epoch would have no step", images), "")
		}
	}
}

// subset checks the size of a class-balanced subset; there is 0 for not known.
func (v *validator) subset(key string, n, there int) {
	switch {
	case n < 0 || n > maxImages:
		v.count(key, n, 0, maxImages, "0 takes all images")
	case there > 0 && n > there:
		v.fail(key, fmt.Sprintf("data set %s has %d images", v.c.Data.Name, there), "0 takes all of them")
	}
}

package pages

import (
	"reflect"
	"strconv"
	"strings"

	"hatchery/presets"
)

// field is a key of an experiment as the editor shows it. Keys and types come
// from the tags of presets.Config.
type field struct {
	key   string // "modules.k"
	group string // "modules"; "" for what is in no table
	kind  reflect.Kind
	index []int
	about
}

// about is what the tags do not say.
type about struct {
	unit   string
	limits string // in words or as an interval
	help   string
}

// abouts describe keys; those of stages go by their last word.
var abouts = map[string]about{
	"seed":     {"", "0 and up", "every random number is a function of it"},
	"schedule": {"epochs", "modular+fine-tuning", "the paper's notation, 200+100; sets modular.epochs and finetune.epochs"},

	"compat": {"", "none or official", "what the official code does beside the paper's words"},

	"model.image":     {"px", "as the data", "height and width of an image"},
	"model.channels":  {"", "as the data", "of an image"},
	"model.patch":     {"px", "divides image", "height and width of a patch"},
	"model.width":     {"", "1 and up", "embed_dim"},
	"model.depth":     {"blocks", "1 and up", "of the target model"},
	"model.heads":     {"", "divides width", "of attention"},
	"model.mlp_ratio": {"", "above 0", "hidden width of the MLP over width"},
	"model.qkv_bias":  {"", "true or false", "bias of queries, keys and values"},
	"model.norm_eps":  {"", "above 0", "of every LayerNorm"},
	"model.classes":   {"", "as the data", "outputs of the head"},

	"modules.k":          {"modules", "1 to depth", "how many modules the target is divided into"},
	"modules.split":      {"blocks", "K depths, sum = depth", "depth of each module; [] divides evenly"},
	"modules.meta_depth": {"blocks", "1 and up", "blocks of each meta module"},

	"data.name":  {"", "a known set", "data set"},
	"data.root":  {"folder", "", "where its files are; empty: the usual places"},
	"data.train": {"images", "0 (all) and up", "class-balanced part of the training images"},
	"data.eval":  {"images", "0 (all) and up", "class-balanced part of the evaluation images"},

	"data.fraction":     {"", "above 0 to 1 (all)", "part of the training images of each class; steps as with all of them"},
	"data.partition":    {"", "true or false", "module i trains on part i of K, for as many steps"},
	"data.skip_corrupt": {"", "true or false", "leave out pictures that cannot be decoded; all are decoded once to find them"},

	"augment.crop_padding": {"px", "0 to image", "random crop after padding"},
	"augment.flip":         {"", "0 to 1", "probability of a horizontal flip"},
	"augment.mixup":        {"", "0 (off) and up", "alpha of mixup"},
	"augment.cutmix":       {"", "0 (off) and up", "alpha of CutMix"},
	"augment.mix_prob":     {"", "0 to 1", "probability that a group (mix_batch) is mixed"},
	"augment.switch_prob":  {"", "0 to 1", "probability of CutMix rather than mixup"},
	"augment.smoothing":    {"", "0 to below 1", "label smoothing"},
	"augment.resized_crop": {"area", "[least, greatest] or []", "random resized crop; [] is off"},
	"augment.rand_augment": {"", "timm's notation", "RandAugment; empty is off"},
	"augment.reprob":       {"", "0 to 1", "random erasing; 0 is off"},
	"augment.repeats":      {"", "1 (off) and up", "repeated augmentation"},

	"run.methods":  {"", "assembling, imitation, e2e", "what to run, in the order of the table"},
	"run.together": {"", "true or false", "modules share one graph, the meta model and the batch"},
	"run.equal":    {"", "epochs or cost", "how long e2e trains"},
	"run.device":   {"", "auto, cpu, cuda, cuda:0,1", "what computes; auto: a GPU if there is one"},
	"run.threads":  {"", "0 (one a core) to 1024", "changes no result but what run.equal = cost measures"},

	"highres.image": {"px", "0 (off) or above image", "a last fine-tuning at this image size"},

	"launch.parts":                   {"folder", "", "with part-1 to part-K of the data; module i reads its own only"},
	"launch.slurm.partition":         {"", "one of the cluster's", "partition of every job"},
	"launch.slurm.account":           {"", "", "account of every job"},
	"launch.slurm.qos":               {"", "", "quality of service of every job"},
	"launch.slurm.constraint":        {"", "features of nodes", "what nodes must have"},
	"launch.slurm.time":              {"", "90, 4:00:00, 2-12", "limit of a job; a stage that needs longer goes on in another"},
	"launch.slurm.gres":              {"", "gpu:1", "generic resources of every job"},
	"launch.slurm.cpus":              {"", "0 (the cluster's) and up", "processors of a job, and its threads"},
	"launch.slurm.mem":               {"", "16G", "memory of a job"},
	"launch.slurm.array_parallelism": {"modules", "0 (all) and up", "modules that train at a time"},
	"launch.slurm.extra":             {"", "options of sbatch", "further options of every job"},

	"epochs":        {"epochs", "1 and up", "length of the stage"},
	"batch":         {"images", "1 to the data's", "images an optimizer step"},
	"micro_batch":   {"images", "divides batch, or 0", "images a pass; 0: the batch"},
	"mix_batch":     {"images", "2 and up, or 0", "images that share a draw of mixup or CutMix; 0: the batch"},
	"lr":            {"", "above 0", "learning rate"},
	"lr_batch":      {"images", "0 and up", "lr is for this batch and scaled to batch; 0: as it is"},
	"min_lr":        {"", "0 to lr", "where the cosine ends"},
	"warmup_epochs": {"epochs", "0 to below epochs", "linear warm-up"},
	"warmup_lr":     {"", "0 to lr", "where the warm-up begins"},
	"schedule_unit": {"", "epoch or step", "how often the rate changes"},
	"decay_from":    {"", "start or warmup", "where the cosine begins: with the warm-up or at its end"},
	"optimizer":     {"", "adamw or lamb", "LAMB as the official code has it; give it clip_grad = 1"},
	"weight_decay":  {"", "0 and up", "the optimizer's"},
	"betas":         {"", "two of 0 to below 1", "the optimizer's"},
	"eps":           {"", "above 0", "the optimizer's"},
	"clip_grad":     {"", "0 (off) and up", "global norm of the gradient"},
	"drop_path":     {"", "0 to below 1", "rate of the last layer"},
	"ema":           {"", "0 (none) to below 1", "decay of an average of the weights"},
	"ema_mode":      {"", "beside or instead", "whether the average is scored beside the weights or instead"},

	"drop_path_mode": {"", "linear or uniform", "the rate rises from 0 or is the same in every layer"},

	"eval_every": {"epochs", "0 and up", "epochs between evaluations; 0: only the last"},
}

// fields lists what can be edited, in the order of presets.Config but for the
// keys that one changes first.
var fields = func() []field {
	var all []field
	var walk func(t reflect.Type, prefix string, index []int)
	walk = func(t reflect.Type, prefix string, index []int) {
		for i := range t.NumField() {
			f := t.Field(i)
			tag := f.Tag.Get("toml")
			at := append(append([]int{}, index...), i)
			switch {
			case f.Anonymous: // its keys are the table's own
				walk(f.Type, prefix, at)
			case tag == "" || prefix == "" && (tag == "name" || tag == "title" || tag == "notes" || tag == "missing" || tag == "paper"):
			case f.Type.Kind() == reflect.Struct:
				walk(f.Type, prefix+tag+".", at)
			default:
				key := prefix + tag
				group := strings.TrimSuffix(prefix, ".")
				a, ok := abouts[key]
				if !ok {
					a = abouts[tag]
				}
				all = append(all, field{key, group, f.Type.Kind(), at, a})
			}
		}
	}
	walk(reflect.TypeFor[presets.Config](), "", nil)
	first := []string{"modules", ""}
	var sorted []field
	for _, g := range first {
		for _, f := range all {
			if f.group == g {
				sorted = append(sorted, f)
			}
		}
	}
	for _, f := range all {
		if f.group != first[0] && f.group != first[1] {
			sorted = append(sorted, f)
		}
	}
	return sorted
}()

// value is a field's value as one types it: TOML, without the quotes of a
// string.
func (f field) value(c *presets.Config) string {
	v := reflect.ValueOf(c).Elem().FieldByIndex(f.index)
	if f.kind != reflect.Slice {
		return plain(v)
	}
	parts := make([]string, v.Len())
	for i := range parts {
		if parts[i] = plain(v.Index(i)); v.Index(i).Kind() == reflect.String {
			parts[i] = strconv.Quote(parts[i])
		}
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func plain(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'g', -1, 64)
	case reflect.Int:
		return strconv.FormatInt(v.Int(), 10)
	case reflect.Uint64:
		return strconv.FormatUint(v.Uint(), 10)
	case reflect.Bool:
		return strconv.FormatBool(v.Bool())
	}
	return v.String()
}

// literal turns what was typed into TOML.
func (f field) literal(text string) string {
	text = strings.TrimSpace(text)
	switch f.kind {
	case reflect.String:
		if !strings.HasPrefix(text, `"`) {
			return presets.Quote(text)
		}
	case reflect.Slice:
		if !strings.HasPrefix(text, "[") {
			return "[" + text + "]"
		}
	case reflect.Float64:
		// TOML asks for a digit on both sides of a point.
		if x, err := strconv.ParseFloat(text, 64); err == nil {
			s := strconv.FormatFloat(x, 'g', -1, 64)
			if !strings.ContainsAny(s, ".eEnI") {
				s += ".0"
			}
			return s
		}
	}
	return text
}

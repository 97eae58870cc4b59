// Package presets holds experiments as TOML files and turns one of them, with
// the user's changes, into a checked [Config].
//
// A file of one's own says what differs from the preset it extends:
//
//	extends = "quickstart"
//
//	[modules]
//	k = 2
//
//	[train] # every stage that has no lr of its own
//	lr = 5e-4
//
// The defaults are a file too: deit.toml, in which every chain of extends ends.
package presets

import "hatchery/models"

// Config is one experiment with every value resolved. Its TOML form is what a
// run folder keeps as config.toml, and loading that file gives the same Config.
type Config struct {
	Name     string `toml:"name"`     // the preset's name, from its file
	Title    string `toml:"title"`    // one line for lists
	Notes    string `toml:"notes"`    // what is the paper's and what is our choice
	Seed     uint64 `toml:"seed"`     // every random number is a function of it
	Schedule string `toml:"schedule"` // modular + fine-tuning epochs in the paper's notation: "200+100"

	// Compat is "none", or "official" for what the paper's official code does
	// beside its words and what changes results: the learning rate of an epoch
	// is set after it, so that the schedule lags by one epoch (DeiT's script has
	// that too), and module 1 decays pos_embed and cls_token. What it gets
	// wrong without effect on the paper's runs is not imitated.
	Compat string `toml:"compat"`

	// Missing names what the experiment needs and this program lacks. Runnable
	// refuses for each; emptying the list runs it without.
	Missing []string `toml:"missing"`

	Model   models.ViT `toml:"model"`   // the target model
	Modules Modules    `toml:"modules"` // how it is divided, and what stands in for the rest
	Data    Data       `toml:"data"`
	Augment Augment    `toml:"augment"`
	Run     Run        `toml:"run"`
	Launch  Launch     `toml:"launch"`

	// The stages. In a file, [train] holds what they share and each table
	// what it changes.
	Meta     Stage `toml:"meta"`     // pre-training of the meta model
	Modular  Stage `toml:"modular"`  // each target module inside the frozen meta model
	Finetune Stage `toml:"finetune"` // the assembled model
	E2E      Stage `toml:"e2e"`      // the baseline: the target model end to end

	HighRes HighRes `toml:"highres"` // what finetune and e2e leave, at a larger image size

	Paper []Result `toml:"paper"` // what the paper reports for this experiment

	// origins says where each key of a loaded Config was written, so that
	// Validate can name the line. Keys that nobody wrote are absent.
	origins map[string]origin

	warnings []string
}

// Warnings returns what the user should know about the loaded configuration, each as
// one line.
func (c *Config) Warnings() []string { return c.warnings }

// Modules says how the target model is divided (paper section 3).
type Modules struct {
	K         int   `toml:"k"`          // number of modules
	Split     []int `toml:"split"`      // depth of each module; empty: evenly
	MetaDepth int   `toml:"meta_depth"` // layers of each meta module, at least 1
}

// Data names a data set and the part of it to use.
type Data struct {
	Name  string `toml:"name"`            // as `hatchery data list` has them: "fashion-mnist-5k" (embedded), "cifar-100", "imagenet-1k", "folder" (of images)
	Root  string `toml:"root" path:"yes"` // folder with its files; empty: the usual places
	Train int    `toml:"train"`           // class-balanced subset of this many training images; 0: all
	Eval  int    `toml:"eval"`            // likewise for evaluation

	// Fraction of the training images of each class, 1: all. An epoch keeps the
	// number of steps that it has with all images, as in the paper's Table 3.
	Fraction float64 `toml:"fraction"`

	// Partition divides the training images into k parts, class-balanced and
	// without a common image, and trains module i on part i with the number of
	// steps of the whole (the paper's DistData, section 4.3). The other stages
	// see all images.
	Partition bool `toml:"partition"`

	SkipCorrupt bool `toml:"skip_corrupt"` // leave out pictures that cannot be decoded, rather than fail
}

// Augment is DeiT's augmentation of training images and targets.
type Augment struct {
	CropPadding int     `toml:"crop_padding"` // random crop after zero padding by this many pixels
	Flip        float64 `toml:"flip"`         // probability of a horizontal flip
	Mixup       float64 `toml:"mixup"`        // alpha of mixup's Beta; 0: off
	CutMix      float64 `toml:"cutmix"`       // alpha of CutMix's Beta; 0: off
	MixProb     float64 `toml:"mix_prob"`     // probability that a group of images is mixed at all (see Stage.MixBatch)
	SwitchProb  float64 `toml:"switch_prob"`  // probability of CutMix rather than mixup when both are on
	Smoothing   float64 `toml:"smoothing"`    // label smoothing

	ResizedCrop []float64 `toml:"resized_crop"` // least and greatest area of a random resized crop; empty: off
	RandAugment string    `toml:"rand_augment"` // timm's notation, "rand-m9-mstd0.5-inc1"; empty: off
	Reprob      float64   `toml:"reprob"`       // probability of erasing a random rectangle
	Repeats     int       `toml:"repeats"`      // copies of an image in an epoch (repeated augmentation); 1: off
}

// Run says which methods are run and how.
type Run struct {
	Methods  []string `toml:"methods"`  // "assembling", "imitation", "e2e": the columns of the final table, in this order
	Together bool     `toml:"together"` // incubate all modules in one graph that shares the meta prefix and the batch
	Equal    string   `toml:"equal"`    // how long e2e trains: "epochs" (its own) or "cost" (as much processor time as the first method took)
	Device   string   `toml:"device"`   // "auto": a GPU where there is one, else "cpu"; "cuda", "cuda:1", "cuda:0,1" (see ParseDevice)
	Threads  int      `toml:"threads"`  // of the processor; 0: one a core; changes no result except the number of epochs that Equal = "cost" measures
}

// Launch says how stages are handed to a scheduler. None of it changes a result.
type Launch struct {
	// Parts is a folder with the parts of the training images, as `hatchery data
	// partition` writes them: module i reads part-<i> instead of data.root.
	// Empty: each module takes its part out of all images.
	Parts string `toml:"parts" path:"yes"`

	Slurm Slurm `toml:"slurm"`
}

// Slurm is what each job of a run asks of Slurm, in sbatch's words; what is
// empty or 0 is not asked for.
type Slurm struct {
	Partition  string   `toml:"partition"`
	Account    string   `toml:"account"`
	QOS        string   `toml:"qos"`
	Constraint string   `toml:"constraint"`
	Time       string   `toml:"time"`              // limit of a job, which goes on in another if it needs longer: "4:00:00", "2-12"
	GRES       string   `toml:"gres"`              // "gpu:1"
	CPUs       int      `toml:"cpus"`              // of a task; also the threads of a stage, if run.threads does not say
	Mem        string   `toml:"mem"`               // of a node: "16G"
	Parallel   int      `toml:"array_parallelism"` // modules that train at a time
	Extra      []string `toml:"extra"`             // further options of sbatch: "--exclude=node7"
}

// Stage is the recipe of one training stage. Names and defaults follow DeiT.
type Stage struct {
	Epochs       int       `toml:"epochs"`
	Batch        int       `toml:"batch"`       // images an optimizer step
	MicroBatch   int       `toml:"micro_batch"` // images a pass, gradients accumulated over batch/micro_batch passes; 0: batch
	MixBatch     int       `toml:"mix_batch"`   // images that share a draw of mixup or CutMix, and are mixed with one another; 0: batch; has nothing to do with micro_batch
	LR           float64   `toml:"lr"`
	LRBatch      int       `toml:"lr_batch"` // lr is for this batch size and is scaled by batch/lr_batch; 0: lr as it is
	MinLR        float64   `toml:"min_lr"`
	WarmupEpochs int       `toml:"warmup_epochs"`
	WarmupLR     float64   `toml:"warmup_lr"`
	ScheduleUnit string    `toml:"schedule_unit"` // "epoch" (DeiT) or "step"
	DecayFrom    string    `toml:"decay_from"`    // where the cosine begins: "start" (DeiT: it falls while warming up) or "warmup" (its end)
	Optimizer    string    `toml:"optimizer"`     // "adamw" or "lamb"
	WeightDecay  float64   `toml:"weight_decay"`
	Betas        []float64 `toml:"betas"`
	Eps          float64   `toml:"eps"`
	ClipGrad     float64   `toml:"clip_grad"`      // global norm; 0: off
	DropPath     float64   `toml:"drop_path"`      // rate of the last layer
	DropPathMode string    `toml:"drop_path_mode"` // "linear": the rate rises from 0 (DeiT); "uniform": it is the same in every layer
	EMA          float64   `toml:"ema"`            // decay of an exponential moving average of the weights; 0: none
	EMAMode      string    `toml:"ema_mode"`       // "beside": the average is scored beside the weights; "instead": it alone is, and later stages go on from it
	EvalEvery    int       `toml:"eval_every"`     // epochs between evaluations; the last is always evaluated, with 0 no other
}

// HighRes is fine-tuning at a larger image size, after finetune and after e2e
// (the 384 and 392 rows of the paper's Table 1).
type HighRes struct {
	Image int `toml:"image"` // height and width, pixels; 0: no such stage
	Stage
}

// Final is the target model as the last stage leaves it.
func (c *Config) Final() models.ViT {
	m := c.Model
	if c.HighRes.Image > 0 {
		m.Image = c.HighRes.Image
	}
	return m
}

// PeakLR is the highest learning rate of the stage: lr, scaled to the batch as
// DeiT does (lr * batch / 512) when lr_batch says so.
func (s *Stage) PeakLR() float64 {
	if s.LRBatch <= 0 {
		return s.LR
	}
	return s.LR * float64(s.Batch) / float64(s.LRBatch)
}

// Result is a number the paper reports. Method is one of Run.Methods as this
// experiment has it; or what the paper compares it with: a baseline ("e2e-vit",
// "e2e-mae", "infopro", "dgl"), assembling with other settings ("assembling-all"
// data, "assembling-k8"); or empty for a property of the model itself.
type Result struct {
	Source string  `toml:"source"` // "Table 2, DeiT-T-32"
	Method string  `toml:"method"`
	Metric string  `toml:"metric"` // "top1" (%), "gpu_hours" (A100), "train_loss", "gmacs" (the paper's FLOPs), "mparams"
	Value  float64 `toml:"value"`
}

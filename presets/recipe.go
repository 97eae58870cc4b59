package presets

import "fmt"

// Upper limits, far above any experiment.
const (
	maxEpochs = 1_000_000
	maxBatch  = 1 << 20
)

// Recipe holds the training settings of a stage. Names and defaults follow DeiT.
type Recipe struct {
	Epochs       int       `toml:"epochs"`
	Batch        int       `toml:"batch"`
	MicroBatch   int       `toml:"micro_batch"`
	MixBatch     int       `toml:"mix_batch"` // independent of micro_batch
	LR           float64   `toml:"lr"`
	LRBatch      int       `toml:"lr_batch"`
	MinLR        float64   `toml:"min_lr"`
	WarmupEpochs int       `toml:"warmup_epochs"`
	WarmupLR     float64   `toml:"warmup_lr"`
	ScheduleUnit string    `toml:"schedule_unit"`
	DecayFrom    string    `toml:"decay_from"`
	Optimizer    string    `toml:"optimizer"`
	WeightDecay  float64   `toml:"weight_decay"`
	Betas        []float64 `toml:"betas"`
	Eps          float64   `toml:"eps"`
	ClipGrad     float64   `toml:"clip_grad"`
	DropPath     float64   `toml:"drop_path"`
	DropPathMode string    `toml:"drop_path_mode"`
	EMA          float64   `toml:"ema"`
	EMAMode      string    `toml:"ema_mode"` // with "instead", later stages continue from the average
	EvalEvery    int       `toml:"eval_every"`
}

func (r *Recipe) settings() []Setting {
	return []Setting{
		{field: &r.Epochs, Unit: "epochs", Limits: from(1).atMost(maxEpochs),
			Help: "length of the stage"},
		{field: &r.Batch, Unit: "images", Limits: from(1).upToThe("the data's").atMost(maxBatch),
			Help: "images per optimizer step"},
		{field: &r.MicroBatch, Unit: "images", Limits: from(0).or(0, "the batch").atMost(maxBatch), Form: "divides batch", Effect: EffectRounding,
			Help: "images per pass; gradients are accumulated over batch/micro_batch passes"},
		// A group needs two images to mix. Versions without the key took the batch as one
		// group.
		{field: &r.MixBatch, Unit: "images", Limits: from(2).or(0, "the batch").atMost(maxBatch), Legacy: 0,
			Help: "images that share a draw of mixup or CutMix and are mixed with one another"},
		{field: &r.LR, Limits: above(0),
			Help: "learning rate"},
		{field: &r.LRBatch, Unit: "images", Limits: from(0).or(0, "no scaling"),
			Help: "batch size that lr is for; lr is scaled by batch/lr_batch"},
		{field: &r.MinLR, Limits: from(0).upToThe("lr"),
			Help: "learning rate at which the cosine ends"},
		{field: &r.WarmupEpochs, Unit: "epochs", Limits: from(0).belowThe("epochs"),
			Help: "length of the linear warm-up"},
		{field: &r.WarmupLR, Limits: from(0).upToThe("lr"),
			Help: "learning rate at which the warm-up begins"},
		{field: &r.ScheduleUnit, Words: []string{"epoch", "step"},
			Help: "how often the learning rate changes; DeiT: each epoch"},
		{field: &r.DecayFrom, Words: []string{"start", "warmup"},
			Help: "where the cosine begins: at the start of the warm-up (DeiT) or at its end"},
		{field: &r.Optimizer, Words: []string{"adamw", "lamb"},
			Help: "optimizer; lamb is the official code's LAMB and needs clip_grad = 1"},
		{field: &r.WeightDecay, Limits: from(0),
			Help: "weight decay of the optimizer"},
		{field: &r.Betas, Limits: from(0).below(1), Len: 2, Form: "two, each 0 to below 1",
			Help: "decay rates of the optimizer's two moments"},
		{field: &r.Eps, Limits: above(0),
			Help: "epsilon of the optimizer"},
		{field: &r.ClipGrad, Limits: from(0).or(0, "off"),
			Help: "maximum global norm of the gradient"},
		{field: &r.DropPath, Limits: from(0).below(1).or(0, "off"),
			Help: "drop path rate of the last layer"},
		{field: &r.DropPathMode, Words: []string{"linear", "uniform"},
			Help: "whether the drop path rate rises from 0 (DeiT) or is the same in every layer"},
		{field: &r.EMA, Limits: from(0).below(1).or(0, "none"),
			Help: "decay of an exponential moving average of the weights"},
		{field: &r.EMAMode, Words: []string{"beside", "instead"},
			Help: "whether the average is evaluated in addition to the weights or instead of them"},
		{field: &r.EvalEvery, Unit: "epochs", Limits: from(0).or(0, "only the last"), Effect: EffectCurves,
			Help: "epochs between evaluations; the last is always evaluated"},
	}
}

// PeakLR returns the highest learning rate of the stage: lr, scaled to the batch if
// lr_batch is set. DeiT has lr * batch / 512.
func (r *Recipe) PeakLR() float64 {
	if r.LRBatch <= 0 {
		return r.LR
	}
	return r.LR * float64(r.Batch) / float64(r.LRBatch)
}

// checkRecipe checks the settings of a table's recipe against one another.
func (v *validator) checkRecipe(table string, r *Recipe) {
	key := func(name string) string { return joinKey(table, name) }
	if r.MicroBatch > 0 && r.Batch%r.MicroBatch != 0 {
		v.fail(key("micro_batch"), fmt.Sprintf("does not divide %s = %d", key("batch"), r.Batch), "0 takes the batch in one pass", key("batch"))
	}
	peak := r.PeakLR()
	for _, low := range []struct {
		name string
		lr   float64
	}{{"min_lr", r.MinLR}, {"warmup_lr", r.WarmupLR}} {
		if low.lr > peak {
			v.fail(key(low.name), fmt.Sprintf("must be from 0 to the learning rate, %g after scaling", peak), "", key("lr"), key("batch"), key("lr_batch"))
		}
	}
	if r.WarmupEpochs > 0 && r.WarmupEpochs >= r.Epochs {
		v.fail(key("warmup_epochs"), fmt.Sprintf("must be from 0 to below %s = %d", key("epochs"), r.Epochs),
			fmt.Sprintf("set %s lower; 0 means no warm-up", key("warmup_epochs")), key("epochs"))
	}
	if v.c.Compat == "official" && r.ScheduleUnit == "step" {
		v.fail(key("schedule_unit"), `compat = "official" sets the rate once per epoch`, `set schedule_unit = "epoch" or compat = "none"`)
	}
}

// Recipe returns the recipe of a table, as a pointer into c, or nil if the table has none.
func (c *Config) Recipe(table string) *Recipe {
	for _, g := range c.groups() {
		if g.recipe != nil && g.table == table {
			return g.recipe
		}
	}
	return nil
}

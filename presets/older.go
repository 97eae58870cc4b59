package presets

import "reflect"

// before holds the values with which the program does what it did before these
// keys existed. A complete file that lacks them, such as the config.toml of an
// older run, gets these rather than the presets' values of today: the run goes
// on as it began.
var before = func() layer {
	l := layer{}
	for _, stage := range stages {
		key := joinKey(stage, "mix_batch")
		l[key] = setting{reflect.ValueOf(0), origin{"a file older than the key", key}}
	}
	return l
}()

// complete reports whether a file is a whole configuration, as Config.TOML has
// written it from the first version on: each stage has a recipe of its own.
func (l layer) complete() bool {
	for _, stage := range stages[:4] { // highres is younger
		for _, key := range []string{"epochs", "batch", "micro_batch", "lr", "min_lr", "warmup_epochs", "weight_decay", "betas", "eps", "eval_every"} {
			if _, ok := l[joinKey(stage, key)]; !ok {
				return false
			}
		}
	}
	return true
}

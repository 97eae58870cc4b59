package presets

import "reflect"

// before holds, for keys of later versions, the values that keep the behaviour of the
// versions before them. A complete file that lacks these keys, such as the config.toml
// of an older run, gets these values rather than those of the presets, so that the run
// continues as it began.
var before = func() layer {
	l := layer{}
	for _, stage := range stages {
		key := joinKey(stage, "mix_batch")
		l[key] = setting{reflect.ValueOf(0), origin{"a file older than the key", key}}
	}
	return l
}()

// complete reports whether a file is a whole configuration as written by Config.TOML of
// any version: each stage has a recipe of its own.
func (l layer) complete() bool {
	for _, stage := range stages[:4] { // the first versions had no highres
		for _, key := range []string{"epochs", "batch", "micro_batch", "lr", "min_lr", "warmup_epochs", "weight_decay", "betas", "eps", "eval_every"} {
			if _, ok := l[joinKey(stage, key)]; !ok {
				return false
			}
		}
	}
	return true
}

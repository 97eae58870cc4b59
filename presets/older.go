package presets

import "reflect"

// before holds, for keys of later versions, the values that keep the behaviour of the
// versions before them. A complete file that lacks these keys, such as the config.toml
// of an older run, gets these values rather than those of the presets, so that the run
// continues as it began.
var before = func() layer {
	l := layer{}
	for _, s := range settings {
		if s.Before != nil && s.index != nil {
			l[s.Key] = setting{reflect.ValueOf(s.Before), origin{"a file older than the key", s.Key}}
		}
	}
	return l
}()

// complete reports whether a file is a whole configuration as written by Config.TOML of
// any version: each stage has a recipe of its own.
func (l layer) complete() bool {
	for _, table := range recipeTables {
		if table == "highres" { // which the first versions did not have
			continue
		}
		for _, name := range []string{"epochs", "batch", "micro_batch", "lr", "min_lr", "warmup_epochs", "weight_decay", "betas", "eps", "eval_every"} {
			if _, ok := l[joinKey(table, name)]; !ok {
				return false
			}
		}
	}
	return true
}

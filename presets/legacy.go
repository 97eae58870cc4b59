package presets

import "reflect"

// legacy holds the values that keep the behaviour of versions without the key. A complete
// file that lacks such a key, such as the config.toml of an older run, gets this value
// rather than the presets', so that the run continues as it began.
var legacy = func() layer {
	l := layer{}
	for _, s := range settings {
		if s.Legacy != nil && s.index != nil {
			l[s.Key] = setting{reflect.ValueOf(s.Legacy), origin{"a file older than the key", s.Key}}
		}
	}
	return l
}()

// complete reports whether a file is a whole configuration, as Config.TOML of any version
// wrote it: each stage has its own recipe.
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

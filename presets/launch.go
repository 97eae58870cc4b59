package presets

// Launch says how stages are handed to a scheduler. None of it changes a result.
type Launch struct {
	Parts string `toml:"parts"` // module i reads part-<i> instead of data.root; empty: its part of all images
	Slurm Slurm  `toml:"slurm"`
}

func (l *Launch) settings() []Setting {
	return []Setting{
		{field: &l.Parts, Unit: "folder", Path: true, Effect: EffectNone, Stages: []string{"modular"},
			Help: "folder with part-1 to part-K of the data, of which module i reads only its own"},
	}
}

// checkLaunch checks that modules which read a part of the data are to be trained on it.
func (v *validator) checkLaunch() {
	if v.c.Launch.Parts == "" {
		return
	}
	if !v.c.Data.Partition {
		v.fail("launch.parts", "modules that train on all images cannot read parts of them", "set data.partition = true or launch.parts = \"\"")
	}
	if d := v.c.Data; d.Train != 0 || d.Fraction != 1 {
		v.fail("launch.parts", "are parts of all images, and some of them only are asked for", "set data.train = 0 and data.fraction = 1, or launch.parts = \"\"")
	}
}

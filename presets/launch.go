package presets

// Launch holds the settings for stages that run as separate jobs. None of them changes a
// result.
type Launch struct {
	Parts string `toml:"parts"` // module i reads part-<i> of this folder; empty: its part of data.root
	Slurm Slurm  `toml:"slurm"`
}

func (l *Launch) settings() []Setting {
	return []Setting{
		{field: &l.Parts, Unit: "folder", Path: true, Effect: EffectNone, Stages: []string{"modular"},
			Help: "folder with part-1 to part-K of the data; module i reads only part-i"},
	}
}

// checkLaunch checks that launch.parts, if set, fits the settings of [data].
func (v *validator) checkLaunch() {
	if v.c.Launch.Parts == "" {
		return
	}
	if !v.c.Data.Partition {
		v.fail("launch.parts", "modules that train on all images cannot read parts of them", "set data.partition = true or launch.parts = \"\"")
	}
	if d := v.c.Data; d.Train != 0 || d.Fraction != 1 {
		v.fail("launch.parts", "holds parts of all images, but only some of the images are selected", "set data.train = 0 and data.fraction = 1, or launch.parts = \"\"")
	}
}

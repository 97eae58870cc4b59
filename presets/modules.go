package presets

// Modules holds the settings of the target model's division (paper section 3).
type Modules struct {
	K         int   `toml:"k"`
	Split     []int `toml:"split"`
	MetaDepth int   `toml:"meta_depth"`
}

func (m *Modules) settings() []Setting {
	return []Setting{
		{field: &m.K, Unit: "modules", Limits: from(1).upToThe("depth").atMost(maxDepth),
			Help: "number of modules of the target model"},
		{field: &m.Split, Unit: "blocks", Limits: from(1).atMost(maxDepth), Form: "K depths, sum = depth", Optional: true,
			Help: "depth of each module; [] divides evenly"},
		{field: &m.MetaDepth, Unit: "blocks", Limits: from(1).atMost(maxDepth),
			Help: "blocks of each meta module"},
	}
}

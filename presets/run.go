package presets

const maxThreads = 1024 // more than any machine has processors; further threads only take time to start

// Run says which methods are run and how. The device, and the number of threads, change
// no result, except the number of epochs that Equal = "cost" measures.
type Run struct {
	Methods  []string `toml:"methods"`
	Together bool     `toml:"together"`
	Equal    string   `toml:"equal"`
	Device   string   `toml:"device"` // see ParseDevice
	Threads  int      `toml:"threads"`
}

func (r *Run) settings() []Setting {
	return []Setting{
		{field: &r.Methods, Form: "names of methods", WordsElsewhere: true, Effect: EffectNone, // on the stages that they share
			Help: "what to run, in the order of the table"},
		{field: &r.Together, Effect: EffectRounding, Stages: []string{"modular"},
			Help: "modules share one graph, the meta model and the batch"},
		{field: &r.Equal, Words: []string{"epochs", "cost"}, Stages: []string{"e2e"},
			Help: "how long e2e trains: its own epochs, or the processor time of the first method"},
		{field: &r.Device, Form: "auto, cpu, cuda, cuda:0,1", Effect: EffectNone, // checkpoints record it, and a change is warned of
			Help: "what computes; auto: a GPU if there is one", Rule: rule(checkDevice)},
		{field: &r.Threads, Limits: from(0).or(0, "one a core").atMost(maxThreads), Effect: EffectNone,
			Help: "threads of the processor; their number changes only what run.equal = cost measures"},
	}
}

// checkRun compares the settings of how to run with those of what is run.
func (v *validator) checkRun() {
	if v.c.Run.Together && v.c.Data.Partition {
		v.fail("run.together", "modules that train on different parts of the data cannot share a batch", "set run.together = false or data.partition = false")
	}
}

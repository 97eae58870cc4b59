package presets

const maxThreads = 1024 // above the cores of any machine; more threads only take time to start

// Run holds the methods to run and the device. The device and the number of threads
// change no result, except the number of epochs that Equal = "cost" measures.
type Run struct {
	Methods  []string `toml:"methods"`
	Together bool     `toml:"together"`
	Equal    string   `toml:"equal"`
	Device   string   `toml:"device"` // see ParseDevice
	Threads  int      `toml:"threads"`
}

func (r *Run) settings() []Setting {
	return []Setting{
		{field: &r.Methods, Form: "names of methods", ExternalWords: true, Effect: EffectNone, // on the stages that methods share
			Help: "methods to run, in the order of the final table"},
		{field: &r.Together, Effect: EffectRounding, Stages: []string{"modular"},
			Help: "train the modules in one graph that shares the meta model and the batch"},
		{field: &r.Equal, Words: []string{"epochs", "cost"}, Stages: []string{"e2e"},
			Help: "how long e2e trains: its own epochs, or the CPU time of the first method"},
		{field: &r.Device, Form: "auto, cpu, cuda, cuda:0,1", Effect: EffectNone, // checkpoints record it, and a change gives a warning
			Help: "device to train on; auto: a GPU if there is one", Rule: rule(checkDevice)},
		{field: &r.Threads, Limits: from(0).or(0, "one per core").atMost(maxThreads), Effect: EffectNone,
			Help: "CPU threads; their number affects only what run.equal = cost measures"},
	}
}

// checkRun checks that modules which train together read the same data.
func (v *validator) checkRun() {
	if v.c.Run.Together && v.c.Data.Partition {
		v.fail("run.together", "modules that train on different parts of the data cannot share a batch", "set run.together = false or data.partition = false")
	}
}

package cli

// RunArg is the argument of commands that act on a run.
type RunArg struct {
	Name string `arg:"" name:"run" help:"A run's name, the beginning of one, or its folder."`
}

// PresetArg holds the argument and the flag of commands that load a preset.
type PresetArg struct {
	Preset string   `arg:"" help:"A preset's name, or a TOML file."`
	Set    []string `short:"s" sep:"none" placeholder:"KEY=VALUE" help:"Change a value of the preset: modules.k=8."`
}

// StudyArg is the argument of commands that act on a study that was started.
type StudyArg struct {
	Study string `arg:"" help:"The name of a study that was started, or the beginning of one."`
}

// DataArg is the argument of commands that act on a data set.
type DataArg struct {
	Set string `arg:"" help:"A data set's name."`
}

// DataFrom is the flag of commands that read a data set.
type DataFrom struct {
	Root string `placeholder:"DIR" help:"Folder with its files; without it, the default folders."`
}

// PackAs holds the flags of commands that write packs.
type PackAs struct {
	Quality     int  `placeholder:"Q" help:"Write resized images as JPEG of this quality, 1 to 100; without it, as raw pixels."`
	SkipCorrupt bool `help:"Leave out pictures that cannot be decoded, and name them."`
}

// EventsJSON is the flag of commands that show the events of a run.
type EventsJSON struct {
	JSON bool `help:"Write events as JSON, one a line."`
}

// Start holds the flags of commands that start or resume a run.
type Start struct {
	Detach bool `short:"d" help:"Execute the run in a process of its own and return."`
	Queue  bool `help:"Like --detach, but start the run when this machine is free."`
	EventsJSON
}

func (s *Start) effect() Effect {
	if s.Detach || s.Queue {
		return Acts
	}
	return Trains
}

// StudyProcess holds the flags of commands that start or resume a study.
type StudyProcess struct {
	Detach bool `short:"d" help:"Execute the study in a process of its own and return."`
	EventsJSON
}

func (s *StudyProcess) effect() Effect {
	if s.Detach {
		return Acts
	}
	return Trains
}

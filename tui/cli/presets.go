package cli

import (
	"context"
	"fmt"
	"text/tabwriter"

	"hatchery/presets"
)

// Presets holds the commands on presets.
type Presets struct {
	List PresetsList `cmd:"" default:"1" hidden:"" help:"List the presets."`
	Show PresetsShow `cmd:"" help:"Show a preset."`
}

// PresetsList lists the presets.
type PresetsList struct{}

func (*PresetsList) Effect() Effect { return Reads }

func (*PresetsList) Run(_ context.Context, a *App) error {
	all, err := presets.List()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PRESET\tTITLE\tPAPER")
	for _, p := range all {
		if p.Abstract {
			continue
		}
		source := p.Source
		if p.Missing != "" {
			source += "; not runnable yet, needs " + p.Missing
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", p.Name, p.Title, source)
	}
	return w.Flush()
}

// PresetsShow writes the file of a preset, or all its values.
type PresetsShow struct {
	PresetArg
	Resolved bool `help:"Show every value, inherited ones too."`
}

func (*PresetsShow) Effect() Effect { return Reads }

func (cmd *PresetsShow) Run(_ context.Context, a *App) error {
	if !cmd.Resolved && len(cmd.Set) == 0 {
		if source, err := presets.Source(cmd.Preset); err == nil {
			_, err = fmt.Fprint(a.Out, source)
			return err
		}
	}
	c, err := presets.Load(cmd.Preset, cmd.Set)
	if err != nil {
		return badInput{err}
	}
	_, err = a.Out.Write(c.Annotated())
	return err
}

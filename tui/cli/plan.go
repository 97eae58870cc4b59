package cli

import (
	"cmp"
	"context"
	"fmt"
	"text/tabwriter"

	"hatchery/datasets"
	"hatchery/engine/pipeline"
	"hatchery/engine/printable"
	"hatchery/engine/quantity"
	"hatchery/models"
	"hatchery/presets"
)

// Plan estimates the cost of an experiment and compares it with the paper's.
type Plan struct{ PresetArg }

func (*Plan) Effect() Effect { return Reads }

func (cmd *Plan) Run(ctx context.Context, a *App) error {
	c, err := presets.Load(cmd.Preset, cmd.Set)
	if err != nil {
		return badInput{err}
	}
	if err := pipeline.Validate(c); err != nil {
		return err
	}
	d, err := models.NewDivision(c.Model, c.Modules.K, c.Modules.Split, c.Modules.MetaDepth)
	if err != nil {
		return badInput{err}
	}
	fmt.Fprintf(a.Out, "%s\n\n", titled(printable.Line(c.Name), c.Title))
	target, meta := d.TargetNet().Cost(), d.MetaNet().Cost()
	fmt.Fprintf(a.Out, "target model  %s MACs per image%s, %s parameters%s, depth %d in modules of %v\n",
		quantity.CountTenths(float64(target.Forward)), highResCost(c, d), quantity.CountTenths(float64(target.Params)), paperParams(c, d), c.Model.Depth, d.Split)
	fmt.Fprintf(a.Out, "meta model    %s MACs per image, %s parameters, depth %d\n\n", quantity.CountTenths(float64(meta.Forward)), quantity.CountTenths(float64(meta.Params)), d.Meta().Depth)

	images := pipeline.TrainImages(c)
	estimates, err := pipeline.Plan(ctx, c, images)
	if err != nil {
		return err
	}
	speed, known := pipeline.MachineSpeed(ctx, c, a.Root)
	if err := ctx.Err(); err != nil {
		return err
	}
	hours := func(macs float64) string {
		if !known || images == 0 {
			return "?"
		}
		return quantity.Hours(speed.Hours(macs))
	}
	if images == 0 {
		if _, err := datasets.Inspect(ctx, pipeline.Source(c)); err != nil {
			fmt.Fprintf(a.Out, "data.root = %q: %v; steps and time are unknown\n\n", c.Data.Root, err)
		}
	}
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "stage\ttrained\tepochs\tsteps\tMACs\tmemory\there\t")
	for _, e := range estimates {
		if !e.Trains() {
			continue
		}
		steps, macs := "?", "?"
		if images > 0 {
			steps, macs = fmt.Sprint(e.Steps), quantity.CountTenths(e.MACs())
		}
		name := e.Name
		if e.GroupSize > 1 {
			name = fmt.Sprintf("%s and %d more", name, e.GroupSize-1)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t\n", name, quantity.CountTenths(float64(e.Network.Trainable)), e.Epochs, steps, macs, quantity.Bytes(e.Memory()), hours(e.MACs()))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, e := range estimates {
		if e.Process.Resuming > 0 {
			fmt.Fprintf(a.Out, "%s briefly needs %s more memory when it is resumed\n", e.Name, quantity.Bytes(e.Process.Resuming))
		}
		if e.Remark != "" {
			fmt.Fprintf(a.Out, "%s %s\n", e.Name, e.Remark)
		}
		if e.Placement != "" {
			fmt.Fprintln(a.Out, e.Placement)
		}
	}
	if known {
		fmt.Fprintf(a.Out, "\nhere: %s, training steps only, at %s MACs per second: %s\n", speed.Device, quantity.CountTenths(speed.MACs), speed.Basis)
	}
	for _, e := range estimates {
		if len(e.After) > 0 {
			fmt.Fprintf(a.Out, "run.equal = \"cost\": %s gets the number of epochs that costs as much as %s; it is determined when the stage starts\n", e.Name, c.Run.Methods[0])
		}
	}
	if images > 0 {
		if err := a.compareA100(c, estimates, hours); err != nil {
			return err
		}
	}
	if len(c.Paper) == 0 {
		return nil
	}
	fmt.Fprintln(a.Out, "\nin the paper:")
	w = tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	for _, p := range c.Paper {
		fmt.Fprintf(w, "  %s\t%s\t%s\t%g\n", printable.Line(p.Source), cmp.Or(p.Method, "model"), p.Metric, p.Value)
	}
	return w.Flush()
}

// compareA100 compares the cost of the methods with the paper's GPU hours. It writes
// nothing if the paper reports none.
func (a *App) compareA100(c *presets.Config, estimates []pipeline.Estimate, hours func(macs float64) string) error {
	paper := map[string]float64{}
	for _, p := range c.Paper {
		if p.Metric == "gpu_hours" {
			paper[p.Method] = p.Value
		}
	}
	a100, ok := pipeline.GPUSpeed("A100")
	if len(paper) == 0 || !ok {
		return nil
	}
	fmt.Fprintln(a.Out)
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "method\tMACs\there\tone A100\tin the paper\t")
	for _, m := range c.Run.Methods {
		macs := pipeline.MethodMACs(m, estimates)
		reported := "-"
		if h, ok := paper[m]; ok {
			reported = fmt.Sprintf("%g h", h)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t\n", m, quantity.CountTenths(macs), hours(macs), quantity.Hours(a100.Hours(macs)), reported)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "one A100: %s; the paper's hours are A100 hours\n", a100.Basis)
	return nil
}

// highResCost returns the cost at the image size of the last stage, or "" if that is the
// size of all stages.
func highResCost(c *presets.Config, d models.Division) string {
	if c.Final() == c.Model {
		return ""
	}
	d.Target = c.Final()
	return fmt.Sprintf(" (%s at %d x %d)", quantity.CountTenths(float64(d.TargetNet().Cost().Forward)), c.HighRes.Image, c.HighRes.Image)
}

// paperParams returns the number of parameters in the paper's tables, which include a head
// of 1000 classes for CIFAR too. It returns "" if there is no difference.
func paperParams(c *presets.Config, d models.Division) string {
	const classes = 1000
	if len(c.Paper) == 0 || c.Model.Classes == classes {
		return ""
	}
	d.Target.Classes = classes
	return fmt.Sprintf(" (%s with the paper's head of %d classes)", quantity.CountTenths(float64(d.TargetNet().Cost().Params)), classes)
}

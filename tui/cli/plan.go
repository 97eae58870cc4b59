package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"text/tabwriter"

	"hatchery/datasets"
	"hatchery/engine/pipeline"
	"hatchery/engine/printable"
	"hatchery/models"
	"hatchery/presets"
)

// Plan shows what an experiment takes, beside what the paper says of it.
func (a *App) Plan(ctx context.Context, preset string, sets []string) error {
	c, err := presets.Load(preset, sets)
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
	fmt.Fprintf(a.Out, "target model  %s MACs an image%s, %s parameters%s, depth %d in modules of %v\n",
		giga(float64(target.Forward)), atLast(c, d), mega(target.Params), paperHead(c, d), c.Model.Depth, d.Split)
	fmt.Fprintf(a.Out, "meta model    %s MACs an image, %s parameters, depth %d\n\n", giga(float64(meta.Forward)), mega(meta.Params), d.Meta().Depth)

	images := pipeline.TrainImages(c)
	estimates, err := pipeline.Plan(ctx, c, images)
	if err != nil {
		return err
	}
	here, known := pipeline.MachineSpeed(c, a.Root)
	hours := func(macs float64) string {
		if !known || images == 0 {
			return "?"
		}
		return inHours(here.Hours(macs))
	}
	if images == 0 {
		if _, err := datasets.Inspect(ctx, pipeline.Source(c)); err != nil {
			fmt.Fprintf(a.Out, "data.root = %q: %v; steps and time are not known\n\n", c.Data.Root, err)
		}
	}
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "stage\ttrained\tepochs\tsteps\tMACs\tmemory\there\t")
	for _, e := range estimates {
		if e.Kind == pipeline.Assemble {
			continue
		}
		steps, macs := "?", "?"
		if images > 0 {
			steps, macs = fmt.Sprint(e.Steps), giga(e.MACs())
		}
		name := e.Name
		if e.Together > 1 {
			name = fmt.Sprintf("%s and %d more", name, e.Together-1)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t\n", name, mega(e.Network.Trainable), e.Epochs, steps, macs, pipeline.Bytes(e.Memory()), hours(e.MACs()))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, e := range estimates {
		if e.Beside.Resuming > 0 {
			fmt.Fprintf(a.Out, "%s takes %s more for a moment where it is resumed\n", e.Name, pipeline.Bytes(e.Beside.Resuming))
		}
		if e.Remark != "" {
			fmt.Fprintf(a.Out, "%s %s\n", e.Name, e.Remark)
		}
		if e.Where != "" {
			fmt.Fprintln(a.Out, e.Where)
		}
	}
	if known {
		fmt.Fprintf(a.Out, "\nhere: %s, training steps only, at %s MACs a second: %s\n", here.Device, giga(here.MACs), here.Basis)
	}
	if c.Run.Equal == "cost" && slices.Contains(c.Run.Methods, pipeline.EndToEnd) {
		fmt.Fprintf(a.Out, "run.equal = \"cost\": e2e gets as many epochs as cost what %s does, found out when it begins\n", c.Run.Methods[0])
	}
	if images > 0 {
		if err := a.besideA100(c, estimates, hours); err != nil {
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

// besideA100 compares the cost of the methods with the paper's GPU hours, where
// it has some.
func (a *App) besideA100(c *presets.Config, estimates []pipeline.Estimate, hours func(macs float64) string) error {
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
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t\n", m, giga(macs), hours(macs), inHours(a100.Hours(macs)), reported)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "one A100: %s; the paper's hours are of A100s\n", a100.Basis)
	return nil
}

// inHours writes a time of so many hours.
func inHours(hours float64) string {
	switch {
	case hours < 1./60:
		return fmt.Sprintf("%.0f s", 3600*hours)
	case hours < 1:
		return fmt.Sprintf("%.0f min", 60*hours)
	case hours < 10:
		return fmt.Sprintf("%.1f h", hours)
	}
	return fmt.Sprintf("%.0f h", hours)
}

// atLast is the cost at the image size of the last stage, where that differs.
func atLast(c *presets.Config, d models.Division) string {
	if c.Final() == c.Model {
		return ""
	}
	d.Target = c.Final()
	return fmt.Sprintf(" (%s at %d x %d)", giga(float64(d.TargetNet().Cost().Forward)), c.HighRes.Image, c.HighRes.Image)
}

// paperHead is the number of parameters as the paper's tables have it, where
// that differs: they count a head of 1000 classes for CIFAR too.
func paperHead(c *presets.Config, d models.Division) string {
	const classes = 1000
	if len(c.Paper) == 0 || c.Model.Classes == classes {
		return ""
	}
	d.Target.Classes = classes
	return fmt.Sprintf(" (%s with the paper's head of %d classes)", mega(d.TargetNet().Cost().Params), classes)
}

// giga and mega write counts as the paper's tables do.
func giga(n float64) string {
	switch {
	case n >= 1e18:
		return fmt.Sprintf("%.1f E", n/1e18)
	case n >= 1e15:
		return fmt.Sprintf("%.1f P", n/1e15)
	case n >= 1e12:
		return fmt.Sprintf("%.1f T", n/1e12)
	case n < 1e8:
		return fmt.Sprintf("%.1f M", n/1e6)
	}
	return fmt.Sprintf("%.1f G", n/1e9)
}

func mega(n int64) string { return fmt.Sprintf("%.1f M", float64(n)/1e6) }

package cli

import (
	"fmt"
	"text/tabwriter"

	"hatchery/engine/pipeline"
	"hatchery/models"
	"hatchery/presets"
)

// Plan shows what an experiment takes, beside what the paper says of it.
func (a *App) Plan(preset string, sets []string) error {
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
	fmt.Fprintf(a.Out, "%s: %s\n\n", c.Name, c.Title)
	target, meta := d.TargetNet().Cost(), d.MetaNet().Cost()
	fmt.Fprintf(a.Out, "target model  %s MACs an image, %s parameters%s, depth %d in modules of %v\n",
		giga(target.Forward), mega(target.Params), paperHead(c, d), c.Model.Depth, d.Split)
	fmt.Fprintf(a.Out, "meta model    %s MACs an image, %s parameters, depth %d\n\n", giga(meta.Forward), mega(meta.Params), d.Meta().Depth)

	images := pipeline.TrainImages(c)
	estimates, err := pipeline.Plan(c, images)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "stage\ttrained\tepochs\tsteps\tMACs\tmemory\t")
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
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t\n", name, mega(e.Network.Trainable), e.Epochs, steps, macs, pipeline.Bytes(e.Memory()))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for i, p := range c.Paper {
		if i == 0 {
			fmt.Fprintln(a.Out, "\nin the paper:")
		}
		method := p.Method
		if method == "" {
			method = "model"
		}
		fmt.Fprintf(a.Out, "  %-28s %-11s %-10s %g\n", p.Source, method, p.Metric, p.Value)
	}
	return nil
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
func giga(n int64) string {
	if n >= 1e15 {
		return fmt.Sprintf("%.1f P", float64(n)/1e15)
	}
	if n >= 1e12 {
		return fmt.Sprintf("%.1f T", float64(n)/1e12)
	}
	if n < 1e8 {
		return fmt.Sprintf("%.1f M", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f G", float64(n)/1e9)
}

func mega(n int64) string { return fmt.Sprintf("%.1f M", float64(n)/1e6) }

package cli

import (
	"context"
	"fmt"

	"hatchery/datasets"
	"hatchery/datasets/fetch"
)

// DataFetch gets a data set from its makers or a mirror.
type DataFetch struct {
	DataArg
	To     string `placeholder:"DIR" help:"Folder to put it into; without it, among your own data, where it is found by itself."`
	Mirror string `env:"HATCHERY_MIRROR" placeholder:"URL" help:"Fetch URL/SET/FILE rather than from the makers. Sizes and checksums must be the same."`
}

func (*DataFetch) Effect() Effect { return Acts }

func (cmd *DataFetch) Run(ctx context.Context, a *App) error {
	set := cmd.Set
	files, err := fetch.Files(set)
	if err != nil {
		if _, unknown := datasets.Describe(set); unknown != nil {
			return badInput{unknown}
		}
		if missing := datasets.Check(ctx, datasets.Source{Name: set}); missing != nil {
			err = missing // it says how to come by the set
		}
		return badInput{err}
	}
	dir, err := expanded(cmd.To)
	if err != nil {
		return err
	}
	if dir == "" {
		if dir, err = datasets.Home(set); err != nil {
			return fmt.Errorf("finding the folder for data: %w; name one with --to", err)
		}
	}
	b := bar{app: a}
	err = fetch.Fetch(ctx, files, dir, fetch.Options{Mirror: cmd.Mirror, Progress: func(f *fetch.File, n int64) {
		b.show(f.Name, n, f.Size, true)
	}})
	b.end()
	if ctx.Err() != nil {
		fmt.Fprintln(a.Err, "stopped; the same command goes on where it is")
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	if err := datasets.Check(ctx, datasets.Source{Name: set, Root: dir}); err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "%s is in %s, complete and with the right checksums\n", set, dir)
	if cmd.To != "" {
		fmt.Fprintf(a.Out, "use it with: -s data.name=%s -s data.root=%s\n", set, dir)
	}
	return nil
}

package cli

import (
	"context"
	"fmt"

	"hatchery/datasets"
	"hatchery/datasets/fetch"
)

// DataFetch downloads a data set from its publisher or a mirror.
type DataFetch struct {
	DataArg
	To     string `placeholder:"DIR" help:"Folder to download to; without it, the default folder, in which hatchery finds it."`
	Mirror string `env:"HATCHERY_MIRROR" placeholder:"URL" help:"Download URL/SET/FILE rather than from the publisher; sizes and checksums must be the same."`
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
			err = missing // this error says how to get the set
		}
		return badInput{err}
	}
	dir, err := expandHome(cmd.To)
	if err != nil {
		return err
	}
	if dir == "" {
		if dir, err = datasets.Home(set); err != nil {
			return fmt.Errorf("finding the default folder for data: %w; choose one with --to", err)
		}
	}
	b := bar{app: a}
	err = fetch.Fetch(ctx, files, dir, fetch.Options{Mirror: cmd.Mirror, Progress: func(f *fetch.File, n int64) {
		b.show(f.Name, n, f.Size, true)
	}})
	b.end()
	if ctx.Err() != nil {
		fmt.Fprintln(a.Err, "stopped; run the same command to continue the download")
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	if err := datasets.Check(ctx, datasets.Source{Name: set, Root: dir}); err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "%s is in %s; it is complete and its checksums are correct\n", set, dir)
	if cmd.To != "" {
		fmt.Fprintf(a.Out, "use it with: -s data.name=%s -s data.root=%s\n", set, dir)
	}
	return nil
}
